/**
 * `deno task build`: makes ./ftl, one executable file that needs no network, and beside it ftl.cdx.json, the list of what
 * is inside. `--target linux-arm64` and the like make it for another system (ftl-linux-arm64). Built twice, of the same
 * commit by the same Deno, it is the same bytes. Weights are never inside.
 *
 * Deno, the bundled program and the libraries of ONNX Runtime and Dawn are packed behind a script that unpacks them once.
 * `deno compile` would do the like, but its base executable is in neither npm nor PyPI: it could be neither fetched
 * through a mirror nor tested.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import manifest from "../../deno.json" with { type: "json" };
import { type Commit, commit as commitOf } from "./commit.ts";
import { type Component, inventory } from "./inventory.ts";
import { oneFile } from "./one_file.ts";
import { nativeFiles, platforms, type ProgramFile, runDeno, thisPlatform } from "./platforms.ts";
import { billOfMaterials, sha256 } from "./sbom.ts";

const root = new URL("../..", import.meta.url).pathname;

async function build(platform: string, target: string): Promise<void> {
  const commit = await commitOf();
  const program = await bundleProgram();
  const components = await inventory(packagesIn(program));
  program.push(...describe(components, commit));
  const natives = await nativeFiles(platform);
  const version = `ftl ${manifest.version}${commit ? ` (commit ${commit.id})` : ""}`;
  const system = platform.startsWith("windows") ? "windows" : "unix";
  const bytes = oneFile([...program, ...natives], { version, system });
  writeWhole(target, bytes, { mode: 0o755 });
  const hash = sha256(bytes), bill = `${target.replace(/\.cmd$/, "")}.cdx.json`;
  const file = target.split(/[\\/]/).at(-1)!;
  const list = billOfMaterials(components, {
    natives: natives.filter(isNative),
    built: { file, sha256: hash, platform, commit },
  });
  writeWhole(bill, new TextEncoder().encode(list), { mode: 0o644 });
  console.log(`${target}: one file, ${(bytes.length / 1e6).toFixed(1)} MB, for ${platform}\nsha256 ${hash}`);
  console.log(`${bill}: what is inside, ${components.length} components (CycloneDX)`);
}

/** The program in a few files, a command's code being loaded only when it is used. */
async function bundleProgram(): Promise<ProgramFile[]> {
  const folder = Deno.makeTempDirSync({ prefix: "ftl-build-" });
  try {
    await runDeno([
      "bundle",
      "--quiet",
      "--platform=deno",
      "--code-splitting",
      "--external=webgpu",
      `--outdir=${folder}`,
      "main.ts",
    ]);
    return [...Deno.readDirSync(folder)].map(({ name }) => ({ name, bytes: Deno.readFileSync(join(folder, name)) }));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Which npm packages a bundle holds: it names the file before what it took of each. */
function packagesIn(program: ProgramFile[]): (id: string) => boolean {
  // These are carried as they are.
  const found = new Set([`webgpu@${versionOf("webgpu")}`, `onnxruntime-node@${versionOf("onnxruntime-node")}`]);
  for (const { bytes } of program) {
    const paths = new TextDecoder().decode(bytes).matchAll(/^\/\/ .*?node_modules\/\.deno\/(@?)([^@/]+)@([^/_]+)/gm);
    for (const [, scope, name, version] of paths) found.add(`${scope}${name.replace("+", "/")}@${version}`);
  }
  return (id) => found.has(id);
}

/** "0.6.2", of a package in the table of imports. */
function versionOf(name: string): string {
  return Object.values(manifest.imports).map((one) => one.split("/")[0])
    .find((one) => one.startsWith(`npm:${name}@`))!.split("@").at(-1)!;
}

/** What the program says of itself: its commit, and the licences of its parts. */
function describe(components: Component[], commit: Commit | undefined): ProgramFile[] {
  const json = (name: string, value: unknown) => ({ name, bytes: new TextEncoder().encode(JSON.stringify(value)) });
  return [...commit ? [json("commit.json", commit)] : [], json("licences.json", components)];
}

const isNative = ({ name }: ProgramFile) => /^deno(\.exe)?$|\.(node|dll|dylib|so)(\.\d+)*$/.test(name);

/** Beside its name and then renamed, so that no half of it is ever taken for the whole. */
function writeWhole(path: string, bytes: Uint8Array, { mode }: { mode: number }): void {
  const temporary = `${path}.partial-${Deno.pid}`;
  Deno.writeFileSync(temporary, bytes);
  Deno.chmodSync(temporary, mode);
  Deno.renameSync(temporary, path);
}

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    options: { target: { type: "string", default: thisPlatform } },
    allowPositionals: true,
  });
  const platform = values.target;
  if (!Object.hasOwn(platforms, platform)) {
    throw new Error(`no one file for ${platform}; --target is one of ${Object.keys(platforms).join(", ")}`);
  }
  const name = platform === thisPlatform ? "ftl" : `ftl-${platform}`;
  await build(platform, positionals[0] ?? join(root, platform.startsWith("windows") ? `${name}.cmd` : name));
}

if (import.meta.main) {
  try {
    await main(Deno.args);
  } catch (error) {
    console.error(`build: ${(error as Error).message}`);
    Deno.exitCode = 1;
  }
}
