/**
 * The systems that a one-file program is made for, and what it carries on each of them: Deno's executable from its npm
 * package, the library of ONNX Runtime and Dawn's addon. Nothing else of those packages is needed.
 */
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export interface Platform {
  /** Deno's npm package, and the sha256 of the executable in it. */
  deno: { package: string; file: string; sha256: string };
  /** Below onnxruntime-node. */
  onnxRuntime: string;
  /** Folder below npm webgpu. */
  dawn: string;
}

/** The Deno that other systems' executables are taken of. */
const denoVersion = "2.9.6";

/** macOS on Intel is missing: onnxruntime-node has no library for it any more. */
export const platforms: Record<string, Platform> = {
  "linux-x64": {
    deno: {
      package: "@deno/linux-x64-glibc",
      file: "deno",
      sha256: "bceb5b6a6239b0b010418406d8c77a508f67cf4337d94288f1c19fe71304aab0",
    },
    onnxRuntime: "bin/napi-v6/linux/x64/libonnxruntime.so.1",
    dawn: "dist/linux-x64",
  },
  "linux-arm64": {
    deno: {
      package: "@deno/linux-arm64-glibc",
      file: "deno",
      sha256: "d08d392418df53f4e6e88a08909c0e1bccbf9adcead7232df72b6ad6075ec416",
    },
    onnxRuntime: "bin/napi-v6/linux/arm64/libonnxruntime.so.1",
    dawn: "dist/linux-arm64",
  },
  "macos-arm64": {
    deno: {
      package: "@deno/darwin-arm64",
      file: "deno",
      sha256: "b3ac3bd206e48c26026cadd80c1367e96c149f9c66130952382a642b09fa8a71",
    },
    onnxRuntime: "bin/napi-v6/darwin/arm64/libonnxruntime.1.dylib",
    dawn: "dist/darwin-universal",
  },
  "windows-x64": {
    deno: {
      package: "@deno/win32-x64",
      file: "deno.exe",
      sha256: "2ff9493dfa356be2975f477025ea770088e9e9cb2c83d983236d13561b96b7a6",
    },
    onnxRuntime: "bin/napi-v6/win32/x64/onnxruntime.dll",
    dawn: "dist/win32-x64",
  },
  "windows-arm64": {
    deno: {
      package: "@deno/win32-arm64",
      file: "deno.exe",
      sha256: "7259fbfaf9fb0d83551b7f85b38b3dc4d7c2c63cf05427b042fbf63bdcb6f778",
    },
    onnxRuntime: "bin/napi-v6/win32/arm64/onnxruntime.dll",
    dawn: "dist/win32-arm64",
  },
};

/** Of the machine that runs this: "linux-x64". */
export const thisPlatform = `${{ darwin: "macos" }[Deno.build.os as string] ?? Deno.build.os}-${
  Deno.build.arch === "x86_64" ? "x64" : "arm64"
}`;

/** A file of the program: its path in the archive, '/' between folders. */
export interface ProgramFile {
  name: string;
  bytes: Uint8Array;
  executable?: boolean;
}

/** Deno, ONNX Runtime and Dawn of a platform. Deno's executable is fetched from npm where it is not this machine's own. */
export async function nativeFiles(name: string): Promise<ProgramFile[]> {
  const { deno, onnxRuntime, dawn } = platforms[name];
  return [
    { name: deno.file, bytes: await denoExecutable(name), executable: true },
    ...packageFiles("onnxruntime-node", ["package.json", onnxRuntime]),
    ...packageFiles("webgpu", ["package.json", "index.js", "LICENSE.md", ...dawnFiles(dawn)]),
  ];
}

/** Folder of an npm package of ours. */
export function packageFolder(name: string): string {
  const require = createRequire(import.meta.url);
  return dirname(require.resolve(name === "webgpu" ? name : `${name}/package.json`));
}

function packageFiles(name: string, files: string[]): ProgramFile[] {
  const folder = packageFolder(name);
  return files.map((file) => ({
    name: `node_modules/${name}/${file}`,
    bytes: Deno.readFileSync(join(folder, file)),
  }));
}

/** The addon, with what lies beside it: on Windows the shader compilers and their licences. */
function dawnFiles(folder: string): string[] {
  return [...Deno.readDirSync(join(packageFolder("webgpu"), folder))].map((entry) => `${folder}/${entry.name}`).sort();
}

async function denoExecutable(name: string): Promise<Uint8Array> {
  if (name === thisPlatform) return Deno.readFileSync(Deno.execPath());
  const { package: packageName, file, sha256 } = platforms[name].deno;
  const bytes = Deno.readFileSync(join(await fetchPackage(`${packageName}@${denoVersion}`), file));
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found !== sha256) throw new Error(`${packageName}@${denoVersion}: ${file} has sha256 ${found}, not ${sha256}`);
  return bytes;
}

/** Folder of a package in Deno's npm cache, fetched where it is not there. */
async function fetchPackage(name: string): Promise<string> {
  const specifier = `npm:${name}/package.json`, alone = ["--no-config", "--no-lock", "--node-modules-dir=none"];
  await runDeno(["cache", "--quiet", ...alone, specifier]);
  const info = JSON.parse(await runDeno(["info", "--json", ...alone, specifier]));
  return info.npmPackages[name].localPath;
}

/** Runs Deno at the project's root and returns what it printed. Errors: Error with what it said. */
export async function runDeno(args: string[]): Promise<string> {
  const root = new URL("../..", import.meta.url);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).output();
  if (!success) throw new Error(`deno ${args[0]} failed:\n${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
