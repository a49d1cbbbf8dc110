/**
 * `deno task build`: makes ./ftl, one executable file for machines like this one, without a network.
 *
 * Where Deno's base executable for compiled programs is named by DENORT_BIN, that is `deno compile`. Elsewhere the
 * running Deno, the bundled program and its native addon are packed behind a shell stub that unpacks itself once.
 * Weights are never inside.
 */
import { join } from "node:path";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import manifest from "../../deno.json" with { type: "json" };
import stub from "./stub.sh" with { type: "text" };

const root = new URL("../..", import.meta.url).pathname;

async function build(target: string): Promise<void> {
  if (Deno.env.get("DENORT_BIN")) return await compile(target);
  const work = Deno.makeTempDirSync({ prefix: "ftl-build-" });
  try {
    const app = join(work, "app");
    Deno.mkdirSync(app);
    await bundleProgram(app);
    copyAddon(app);
    Deno.copyFileSync(Deno.execPath(), join(app, "deno"));
    Deno.chmodSync(join(app, "deno"), 0o755);
    const archive = join(work, "app.tar.gz");
    await run("sh", ["-c", 'tar -cf - -C "$0" . | gzip -6 > "$1"', app, archive]);
    writeExecutable(target, Deno.readFileSync(archive));
  } finally {
    Deno.removeSync(work, { recursive: true });
  }
}

/** The program in a few files, a command's code being loaded only when it is used. */
async function bundleProgram(app: string): Promise<void> {
  const external = Object.keys(nativePackages()).flatMap((name) => ["--external", name]);
  await run(Deno.execPath(), [
    "bundle",
    "--quiet",
    "--platform=deno",
    "--code-splitting",
    ...external,
    `--outdir=${app}`,
    join(root, "main.ts"),
  ]);
}

/** Packages that cannot be bundled, since they load a shared library that lies beside them; folder by name. */
function nativePackages(): Record<string, string> {
  const fromHere = createRequire(import.meta.url);
  const runtime = packageFolder(fromHere.resolve("onnxruntime-node"), "onnxruntime-node");
  const fromRuntime = createRequire(join(runtime, "package.json"));
  const common = packageFolder(fromRuntime.resolve("onnxruntime-common"), "onnxruntime-common");
  return { "onnxruntime-node": runtime, "onnxruntime-common": common };
}

function packageFolder(file: string, name: string): string {
  const end = file.lastIndexOf(`/${name}/`) + name.length + 1;
  return file.slice(0, end);
}

/** Only what runs here: the scripts, and the library of this system and processor. */
function copyAddon(app: string): void {
  const packages = nativePackages();
  for (const [name, folder] of Object.entries(packages)) {
    const to = join(app, "node_modules", name);
    copyFolder(join(folder, "dist"), join(to, "dist"), (file) => /\.(c?js|json)$/.test(file));
    Deno.copyFileSync(join(folder, "package.json"), join(to, "package.json"));
  }
  const { os, arch } = Deno.build;
  const library = join("bin", "napi-v6", os, arch === "x86_64" ? "x64" : "arm64");
  const from = join(packages["onnxruntime-node"], library);
  copyFolder(from, join(app, "node_modules", "onnxruntime-node", library), () => true);
  const dependencies = Object.fromEntries(Object.keys(packages).map((name) => [name, "*"]));
  Deno.writeTextFileSync(join(app, "package.json"), JSON.stringify({ type: "module", dependencies }));
}

function copyFolder(from: string, to: string, wanted: (file: string) => boolean): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const entry of Deno.readDirSync(from)) {
    if (entry.isDirectory) copyFolder(join(from, entry.name), join(to, entry.name), wanted);
    else if (wanted(entry.name)) Deno.copyFileSync(join(from, entry.name), join(to, entry.name));
  }
}

/** Stub and archive in one file. The stub knows its own lines, the file's size and the archive's hash. */
function writeExecutable(target: string, archive: Uint8Array): void {
  const key = createHash("sha256").update(archive).digest("hex").slice(0, 16);
  const lines = stub.trimEnd().split("\n").length;
  const filled = stub.trimEnd()
    .replaceAll("@VERSION@", `ftl ${manifest.version}`)
    .replaceAll("@KEY@", key)
    .replaceAll("@LINES@", String(lines + 1)) + "\n";
  // The size has as many digits as its placeholder is replaced by, so it is found by trying.
  let size = 0;
  for (let guess = -1; guess !== size;) {
    guess = size;
    size = new TextEncoder().encode(filled.replaceAll("@SIZE@", String(guess))).length + archive.length;
  }
  const head = new TextEncoder().encode(filled.replaceAll("@SIZE@", String(size)));
  const temporary = `${target}.partial-${Deno.pid}`;
  Deno.writeFileSync(temporary, head, { mode: 0o755 });
  Deno.writeFileSync(temporary, archive, { append: true });
  Deno.renameSync(temporary, target);
  console.log(
    `${target}: one file, ${(size / 1e6).toFixed(0)} MB; copy it to any machine with the same system and run it`,
  );
}

async function compile(target: string): Promise<void> {
  await run(Deno.execPath(), [
    "compile",
    "--allow-all",
    "--self-extracting",
    `--output=${target}`,
    join(root, "main.ts"),
  ]);
}

async function run(command: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args, cwd: root, stderr: "piped" }).output();
  if (success) return;
  throw new Error(`${command} ${args[0]} failed:\n${new TextDecoder().decode(stderr)}`);
}

if (import.meta.main) {
  try {
    await build(Deno.args[0] ?? join(root, "ftl"));
  } catch (error) {
    console.error(`build: ${(error as Error).message}`);
    Deno.exitCode = 1;
  }
}
