/**
 * `deno task build`: makes ./ftl, one executable file for machines like this one, without a network.
 *
 * Where Deno's base executable for compiled programs is named by DENORT_BIN, that is `deno compile`. Elsewhere the
 * running Deno, the bundled program and the libraries of ONNX Runtime and Dawn are packed behind a shell stub that
 * unpacks itself once.
 * Weights are never inside.
 */
import { dirname, join } from "node:path";
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
    copyOnnxRuntime(app);
    copyDawn(app);
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
  await run(Deno.execPath(), [
    "bundle",
    "--quiet",
    "--platform=deno",
    "--code-splitting",
    "--external=webgpu",
    `--outdir=${app}`,
    join(root, "main.ts"),
  ]);
}

const arch = Deno.build.arch === "x86_64" ? "x64" : "arm64";

/** Only what runs here: the library of this system and processor, and the manifest by which it is found. */
function copyOnnxRuntime(app: string): void {
  const found = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  const to = join(app, "node_modules", "onnxruntime-node");
  const folder = join("bin", "napi-v6", Deno.build.os, arch);
  copyFolder(
    join(dirname(found), folder),
    join(to, folder),
    (file) => /^(lib)?onnxruntime\.(so|dll|1\.dylib)/.test(file),
  );
  Deno.copyFileSync(found, join(to, "package.json"));
}

/** The same of npm webgpu, with the module that loads it. */
function copyDawn(app: string): void {
  const from = dirname(createRequire(import.meta.url).resolve("webgpu"));
  const to = join(app, "node_modules", "webgpu");
  const folder = join("dist", Deno.build.os === "darwin" ? "darwin-universal" : `${Deno.build.os}-${arch}`);
  copyFolder(join(from, folder), join(to, folder), () => true);
  for (const file of ["package.json", "index.js", "LICENSE.md"]) Deno.copyFileSync(join(from, file), join(to, file));
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
