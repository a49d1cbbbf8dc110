/** Names of repositories and of their files: what is one, and that nothing else ever becomes a path. */
import assert from "node:assert/strict";
import { posix, win32 } from "node:path";
import fc from "fast-check";
import {
  type DatasetName,
  isSafePath,
  parseDatasetName,
  parseRepoName,
  type RepoName,
  showRepoName,
} from "../../lib/hub/repo_name.ts";

const repo = "Qwen/Qwen3-0.6B";
const names: [string, RepoName | undefined][] = [
  [repo, { repo }],
  [`${repo}@main`, { repo, revision: "main" }],
  [`${repo}@refs/pr/1`, { repo, revision: "refs/pr/1" }],
  [`${repo}:Q4_K_M`, { repo, quant: "Q4_K_M" }],
  [`${repo}:Q4_K_M@v1`, { repo, quant: "Q4_K_M", revision: "v1" }],
  [`${repo}@v1:Q4_K_M`, { repo, quant: "Q4_K_M", revision: "v1" }],
  [`${repo}/a.gguf`, { repo, file: "a.gguf" }],
  [`${repo}/Q8_0/a.gguf@v1`, { repo, file: "Q8_0/a.gguf", revision: "v1" }],
  [`https://huggingface.co/${repo}`, { repo }],
  [`https://huggingface.co/${repo}/`, { repo }],
  [`hf.co/${repo}:Q8_0`, { repo, quant: "Q8_0" }],
  [`https://huggingface.co/${repo}/tree/refs%2Fpr%2F1`, { repo, revision: "refs/pr/1" }],
  [`https://huggingface.co/${repo}/resolve/main/a.gguf?download=true`, { repo, revision: "main", file: "a.gguf" }],
  [`https://huggingface.co/${repo}/blob/main/config.json`, undefined],
  ["smollm2-135m", undefined],
  ["", undefined],
  ["./a/b", undefined],
  ["../a", undefined],
  ["/a/b", undefined],
  ["a/..", undefined],
  ["a//b", undefined],
  ["a/b/c", undefined],
  ["a/b@", undefined],
  ["a/b@../../c", undefined],
  ["a/b@x/", undefined],
  ["a/b:Q4_K_M:Q8_0", undefined],
  ["a/b/c.gguf:Q8_0", undefined],
  ["a/b/../c.gguf", undefined],
  ["a/c.gguf", undefined],
  ["a/model.safetensors", undefined],
  ["a--b/c", undefined],
  ["C:/models/a", undefined],
  ["models/a", undefined],
  ["runs/smollm2-135m-1", undefined],
  ["a b/c", undefined],
  [`${"a".repeat(97)}/b`, undefined],
];

for (const [text, expected] of names) {
  Deno.test(`parseRepoName(${JSON.stringify(text)})`, () => assert.deepEqual(parseRepoName(text), expected));
}

const datasets: [string, DatasetName | undefined][] = [
  ["org/rows", { repo: "org/rows" }],
  ["datasets/org/rows", { repo: "org/rows" }],
  ["https://huggingface.co/datasets/org/rows", { repo: "org/rows" }],
  ["hf://datasets/org/rows", { repo: "org/rows" }],
  ["datasets/org/rows@v1", { repo: "org/rows", revision: "v1" }],
  ["org/rows:test", { repo: "org/rows", split: "test" }],
  ["org/rows:en/test@v1", { repo: "org/rows", config: "en", split: "test", revision: "v1" }],
  ["org/rows@v1:en/test", { repo: "org/rows", config: "en", split: "test", revision: "v1" }],
  ["org/rows:en/", { repo: "org/rows", config: "en" }],
  ["org/rows:", undefined],
  ["org/rows:a/b/c", undefined],
  ["org/rows@a:b@c", undefined],
  ["org/rows:../x", undefined],
  ["rows", undefined],
  ["rows.jsonl", undefined],
  ["data/rows.jsonl", undefined],
  ["org/rows/a.gguf", undefined],
  ["a/b/c", undefined],
];
for (const [text, expected] of datasets) {
  Deno.test(`parseDatasetName(${JSON.stringify(text)})`, () => assert.deepEqual(parseDatasetName(text), expected));
}

const paths: [string, boolean][] = [
  ["config.json", true],
  ["data/train-00000-of-00001.parquet", true],
  ["a b/ü.csv", true],
  [".gitattributes", true],
  ["console.json", true],
  ["../x", false],
  ["a/../../x", false],
  ["a/./b", false],
  ["/etc/passwd", false],
  ["a//b", false],
  ["a/", false],
  ["", false],
  ["..\\x", false],
  ["C:\\x", false],
  ["C:x", false],
  ["a/C:x", false],
  ["\\\\host\\share", false],
  ["x:stream", false],
  ["con", false],
  ["a/NUL.json", false],
  ["com1.gguf", false],
  ["a.", false],
  ["a ", false],
  ["a\0b", false],
  ["a\nb", false],
  ["x".repeat(256), false],
];

for (const [path, safe] of paths) {
  Deno.test(`isSafePath(${JSON.stringify(path.slice(0, 40))})`, () => assert.equal(isSafePath(path), safe));
}

/** Texts made of what matters to paths, so that dangerous ones are common. */
const hostile = fc.array(
  fc.constantFrom(
    "..",
    ".",
    "/",
    "\\",
    ":",
    "@",
    "a",
    "B",
    "con",
    "x.gguf",
    "-",
    "--",
    "\0",
    " ",
    "~",
    "C:",
    "é",
    "%2e",
  ),
  { maxLength: 12 },
).map((pieces) => pieces.join(""));

Deno.test("isSafePath() lets nothing out of its folder, by the rules of either system", () => {
  fc.assert(fc.property(fc.oneof(hostile, fc.string()), (path) => {
    if (!isSafePath(path)) return;
    for (const [system, base] of [[posix, "/base/in"], [win32, "D:\\base\\in"]] as const) {
      const joined = system.join(base, path);
      assert.ok(joined.startsWith(base + system.sep), joined);
      assert.equal(system.resolve(base, path), joined);
      assert.equal(system.relative(base, joined), path.replaceAll("/", system.sep));
    }
  }));
});

Deno.test("parseRepoName() gives only parts that are safe as paths, whatever it is given", () => {
  fc.assert(
    fc.property(fc.oneof(hostile, fc.string(), hostile.map((text) => `a/b@${text}`)), (text) => {
      const found = parseRepoName(text);
      if (!found) return;
      const folder = `models--${found.repo.replace("/", "--")}`;
      for (const part of [folder, found.revision, found.file]) assert.ok(part === undefined || isSafePath(part), part);
      assert.match(found.repo, /^[^/]+\/[^/]+$/);
      assert.ok(!found.repo.includes("--"));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("a name that was parsed reads the same when it is written again", () => {
  const part = fc.stringMatching(/^[A-Za-z0-9_]([\w.-]{0,10}[A-Za-z0-9_])?$/).filter((text) =>
    !/--|\.\.|\.git$/.test(text)
  );
  const revision = fc.option(part, { nil: undefined });
  const which = fc.oneof(
    fc.constant({}),
    part.map((quant) => ({ quant })),
    part.filter((name) => isSafePath(name)).map((name) => ({ file: `${name}.gguf` })),
  );
  fc.assert(fc.property(part, part, revision, which, (owner, name, revision, which) => {
    const meant = { repo: `${owner}/${name}`, ...which, ...(revision && { revision }) };
    const parsed = parseRepoName(showRepoName(meant));
    // Names that are common for folders and files of this machine are left to them.
    if (
      /^(models|datasets|spaces|api|docs|runs)$/i.test(owner) || /\.(gguf|safetensors|bin|jsonl?|ya?ml)$/i.test(name)
    ) return;
    if (!isSafePath(meant.repo) || (revision && !isSafePath(revision))) return;
    assert.deepEqual(parsed, meant);
  }));
});
