/**
 * Rules about the source that no compiler checks: who may import whom, how long a file may be, that it says what it is,
 * who may touch arguments, environment, console and network, and what the project never mentions.
 */
import assert from "node:assert/strict";
import { dirname, join, relative } from "node:path";

const root = new URL("..", import.meta.url).pathname;

/** What a folder of lib may import besides itself and lib/errors.ts. */
const allowed: Record<string, string[]> = {
  "errors.ts": [],
  "ops.ts": [],
  "fixed_inputs.ts": ["ops.ts"],
  formats: [],
  quant: ["formats"],
  text: ["formats"],
  hub: ["files", "formats"],
  files: ["formats"],
  data: ["text", "formats"],
  model: ["ops.ts", "quant", "formats", "files"],
  onnx: ["ops.ts", "quant"],
  wasm: ["ops.ts", "fixed_inputs.ts", "quant", "formats"],
  webgpu: ["ops.ts", "fixed_inputs.ts", "quant", "model", "train", "kernels"],
  train: ["model", "data", "ops.ts", "quant", "formats", "files"],
  eval: ["model", "data", "text"],
  report: ["eval", "train", "templates"],
  export: ["model", "formats", "quant", "text", "files", "data"],
  serve: ["model", "text", "ops.ts", "formats", "templates"],
  cli: ["*"],
  build: ["cli"],
};

const maxLines = 400;

/** All tracked and untracked source files, as paths below the root. */
function* sourceFiles(folder = root, pattern = /\.(ts|js|css|html|wgsl|md|json|ya?ml|sh|wat)$/): Generator<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (/^(node_modules|\.git|runs|dist|golden|\.cache|\.deno)$/.test(entry.name)) continue;
    if (entry.isDirectory) yield* sourceFiles(path, pattern);
    else if (pattern.test(entry.name)) yield relative(root, path);
  }
}

const sources = [...sourceFiles()].sort();
const code = sources.filter((path) => path.endsWith(".ts"));
const read = (path: string) => Deno.readTextFileSync(join(root, path));

/** "lib/cli/pull.ts" -> "cli", "lib/ops.ts" -> "ops.ts", "kernels/cast.wgsl" -> "kernels" */
const partOf = (path: string) => path.startsWith("lib/") ? path.split("/")[1] : path.split("/")[0];

/** A file's text without comments. */
const codeOf = (path: string) => read(path).replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");

function importsOf(path: string): string[] {
  const text = read(path).replace(/^\s*(\/\*\*?|\*|\/\/).*$/gm, "");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]);
}

Deno.test("imports between the folders of lib are the ones in the table", () => {
  const wrong: string[] = [];
  for (const path of code.filter((path) => path.startsWith("lib/"))) {
    const part = partOf(path);
    const may = allowed[part];
    assert.ok(may, `${path}: ${part} is not in the table of allowed imports`);
    for (const specifier of importsOf(path)) {
      if (!specifier.startsWith(".")) continue;
      const target = relative(root, join(root, dirname(path), specifier));
      if (part === "build" && !target.startsWith("lib/")) continue;
      const other = partOf(target);
      if (other !== part && other !== "errors.ts" && !may.includes(other) && !may.includes("*")) {
        wrong.push(`${path} imports ${target}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("main.ts imports only lib/cli and lib/errors.ts", () => {
  const wrong = importsOf("main.ts").filter((name) => !/^\.\/lib\/(cli\/|errors\.ts)/.test(name));
  assert.deepEqual(wrong, []);
});

Deno.test("native packages are imported by their one owner only", () => {
  const owners: [RegExp, RegExp][] = [
    [/^onnxruntime-node/, /^lib\/onnx\//],
    [/^webgpu$/, /^lib\/webgpu\/device\.ts$/],
    [/^commander$/, /^lib\/cli\//],
    [/^@huggingface\/hub$/, /^lib\/hub\//],
  ];
  const wrong = code.filter((path) => /^(lib|main)/.test(path)).flatMap((path) =>
    importsOf(path).filter((name) => owners.some(([what, where]) => what.test(name) && !where.test(path)))
      .map((name) => `${path} imports ${name}`)
  );
  assert.deepEqual(wrong, []);
});

Deno.test("navigator.gpu is used in lib/webgpu/device.ts only", () => {
  const wrong = code.filter((path) => /^(lib|main)/.test(path) && path !== "lib/webgpu/device.ts")
    .filter((path) => /\bnavigator\s*(\?\.|\.|\[\s*")gpu\b/.test(codeOf(path)));
  assert.deepEqual(wrong, []);
});

Deno.test("what belongs to GPUs is loaded only when it is used", () => {
  const wrong = code.filter((path) => /^(lib\/(?!webgpu\/)|main)/.test(path))
    .filter((path) => /^import (?!type )[^;]*?from "[^"]*\/webgpu\/[^"]*"/m.test(codeOf(path)));
  assert.deepEqual(wrong, []);
});

Deno.test("kernels lie in one folder, one file each, and all of them are in the table of sources", () => {
  const kernels = sources.filter((path) => path.endsWith(".wgsl"));
  const table = importsOf("lib/webgpu/sources.ts").map((name) => name.replace("../../", ""));
  assert.deepEqual(kernels, table.toSorted());
});

Deno.test("npm: specifiers stand in tests only", () => {
  const wrong = code.filter((path) => !path.startsWith("tests/")).filter((path) =>
    importsOf(path).some((name) => /^(npm|jsr|https?):/.test(name))
  );
  assert.deepEqual(wrong, []);
});

Deno.test(`no source file has more than ${maxLines} lines`, () => {
  const long = sources.filter((path) => /\.(ts|js|css|html|wgsl|sh|wat)$/.test(path))
    .map((path) => ({ path, lines: read(path).split("\n").length - 1 })).filter(({ lines }) => lines > maxLines);
  assert.deepEqual(long, []);
});

Deno.test("every module opens with a comment that says what it is", () => {
  const silent = code.filter((path) => /^(main\.ts|lib\/|tests\/)/.test(path) && !path.endsWith("_test.ts"))
    .filter((path) => !/^(#!.*\n)?\/\*\*[\s\S]{40,}?\*\//.test(read(path)));
  assert.deepEqual(silent, []);
});

Deno.test("file names are snake_case and there is no index.ts", () => {
  const wrong = code.filter((path) => !/^([a-z0-9_]+\/)*[a-z0-9_]+\.ts$/.test(path) || /(^|\/)index\.ts$/.test(path));
  assert.deepEqual(wrong, []);
});

Deno.test("only lib/cli, lib/build and main.ts print, read arguments or environment, or exit", () => {
  const effects = /\bconsole\.|\bDeno\.(args|env|exit|exitCode|stdin|stdout|stderr)\b/;
  // ONNX Runtime is told by environment alone to send nothing home.
  const told = 'Deno.env.set("ORT_DISABLE_TELEMETRY", "1")';
  const wrong = code.filter((path) => /^lib\/(?!cli\/|build\/)/.test(path)).filter((path) =>
    effects.test(codeOf(path).replace(told, ""))
  );
  assert.deepEqual(wrong, []);
});

Deno.test("only lib/hub reaches out to the network", () => {
  const wrong = code.filter((path) => /^lib\/(?!hub\/)/.test(path)).filter((path) =>
    /\bfetch\(|\bDeno\.connect/.test(codeOf(path))
  );
  assert.deepEqual(wrong, []);
});

Deno.test("the project speaks of itself alone: no machine paths, no registry hosts, no word of how it was made", () => {
  // Spelled in pieces, so that this file does not contain what it forbids.
  const forbidden = [
    ["/work", "/"],
    ["/ro", "ot/"],
    ["/home", "/[a-z]"],
    ["/tmp", "/(g|bash)"],
    ["registry\\.npm", "js"],
    ["py", "pi\\.org"],
    ["files\\.python", "hosted"],
    ["\\bLL", "M agent"],
    ["\\bsub", "agent"],
    ["\\bCl", "aude\\b"],
    ["design", "\\.md"],
    ["anchors", "/"],
    ["\\bhel", "per session"],
  ].map((parts) => new RegExp(parts.join(""), "i"));
  const wrong = sources.flatMap((path) => {
    const text = read(path);
    return forbidden.filter((pattern) => pattern.test(text)).map((pattern) => `${path}: ${pattern.source}`);
  });
  assert.deepEqual(wrong, []);
});

Deno.test("the top level is what the README's tree says", () => {
  const expected = new Set(
    "deno.json deno.lock main.ts lib kernels templates data docs tests README.md CHANGELOG.md LICENSE .ci .git .gitignore"
      .split(" "),
  );
  const local = new Set(["node_modules", "runs", "dist", "ftl", "ftl.cdx.json", ".cache", ".gpuhost"]);
  const extra = [...Deno.readDirSync(root)].map((entry) => entry.name)
    .filter((name) => !expected.has(name) && !local.has(name) && !name.startsWith("ftl-"));
  assert.deepEqual(extra, []);
});
