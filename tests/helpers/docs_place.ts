/**
 * A place where the documentation's commands can be run as they stand: `ftl`, `./ftl`, `deno task` and `npx` lead to this
 * checkout, models and data sets of the names that are used are tiny stand-ins on this disk and on a hub of this machine,
 * and long work is shortened by settings that are added, never by others than the page shows.
 */
import { join } from "node:path";
import { makeTinyFolder } from "./tiny_folders.ts";
import { rows } from "./ftl.ts";
import type { HubRepo } from "./hub_server.ts";
import { type Cells, csvOf, parquetOf, xlsxOf } from "./tables.ts";
import { models } from "../../lib/hub/models.ts";

const root = new URL("../..", import.meta.url).pathname;

/** What is added to a command, so that it ends soon: by its name, unless it holds one of these words already. */
const shortened: Record<string, { add: string; unless?: string }> = {
  train: { add: "--max-steps 1 --warmup-steps 0 --questions 0 --threads 1", unless: "--resume" },
  run: { add: "--max-new-tokens 4 --threads 1" },
  eval: { add: "--limit 1 --max-new-tokens 4 --threads 1" },
  compare: { add: "--limit 1 --max-new-tokens 4 --threads 1" },
  plan: { add: "--no-measure" },
  experiment: {
    add:
      "--set max_steps=2 --set data=data/cultural-qa-4.jsonl --set seed=1 --set limit=1 --set max_new_tokens=4 --set threads=1",
    unless: "--dry-run",
  },
};

export interface DocsPlace {
  /** Where a page's commands are run, new for each page. `begun`: with runs and answers of earlier commands there. */
  page(name: string, options: { begun: boolean }): string;
  env: Record<string, string>;
}

/** Programs for PATH, a cache with the default model's stand-in, and a folder that pages begin from. */
export async function makeDocsPlace(folder: string, { hub }: { hub: string }): Promise<DocsPlace> {
  const at = (path: string) => join(folder, path);
  for (const path of ["bin", "home/.zfunc", "home/.config/fish/completions", "start/models", "pages"]) {
    Deno.mkdirSync(at(path), { recursive: true });
  }
  writePrograms(at("bin"));
  const env = {
    PATH: `${at("bin")}:${Deno.env.get("PATH")}`,
    HOME: at("home"),
    FTL_CACHE: at("cache"),
    HF_HOME: at("huggingface"),
    HF_ENDPOINT: hub,
    NO_COLOR: "1",
  };
  Deno.renameSync(makeTinyFolder("llama_tied", folder), at("tiny"));
  const place: DocsPlace = {
    env,
    page(name, { begun }) {
      const path = at(`pages/${name.replaceAll("/", "-")}`);
      copyFolder(at(begun ? "begun" : "start"), path);
      Deno.symlinkSync(at("bin/ftl"), join(path, "ftl"));
      return path;
    },
  };
  const ftl = (args: string, cwd: string) => mustRun(`ftl ${args}`, { cwd, env });
  await ftl("export tiny --to f16 -o gguf", folder);
  standInForDefault(at("cache"), at("gguf/tiny.F16.gguf"));
  fillStart(at("start"), { model: at("tiny"), gguf: at("gguf/tiny.F16.gguf") });
  copyFolder(at("start"), at("begun"));
  await ftl("train", at("begun"));
  for (const run of ["smollm2-135m-2", "a", "b"]) copyFolder(at("begun/runs/smollm2-135m-1"), at(`begun/runs/${run}`));
  for (const adapter of ["adapter", "a", "b"]) copyFolder(at("begun/runs/a/adapter"), at(`begun/${adapter}`));
  await ftl("compare smollm2-135m runs/smollm2-135m-1", at("begun"));
  return place;
}

/** The repositories of the names that the documentation uses. */
export function standInRepos(folder: string): Record<string, HubRepo> {
  const tiny = makeTinyFolder("qwen3", folder);
  const files = Object.fromEntries(
    [...Deno.readDirSync(tiny)].map(({ name }) => [name, Deno.readFileSync(join(tiny, name))]),
  );
  return {
    "Qwen/Qwen3-0.6B": { files },
    "databricks/databricks-dolly-15k": { kind: "dataset", files: { "rows.jsonl": rows } },
    "org/name": { kind: "dataset", files: { "en/train.jsonl": rows, "en/test.jsonl": rows } },
  };
}

function writePrograms(bin: string): void {
  const script = (name: string, text: string) =>
    Deno.writeTextFileSync(join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  const cases = Object.entries(shortened).map(([name, { add, unless }]) =>
    `${name}) case "$*" in *--help*${unless ? `|*${unless}*` : ""}) ;; *) set -- "$@" ${add} ;; esac ;;`
  );
  script(
    "ftl",
    `case "$1" in ${cases.join("\n")} esac
FTL_PROGRAM=ftl exec '${Deno.execPath()}' run --allow-all --quiet '${root}main.ts' "$@"`,
  );
  script("deno", `[ "$1" = task ] || exit 99; shift; [ "$1" != ftl ] || shift; exec ftl "$@"`);
  script("npx", `[ "$1" = -y ] || exit 99; shift 2; exec deno "$@"`);
  // Says so where a server refuses.
  script("curl", `exec "$(PATH=\${PATH#*:} command -v curl)" --fail-with-body -sS "$@"`);
}

/** A tiny model under the default one's name: of its size, with the note that its checksum was right. */
function standInForDefault(cache: string, gguf: string): void {
  for (const [name, { file, bytes, sha256 }] of Object.entries(models)) {
    const folder = join(cache, "models", name), path = join(folder, file);
    Deno.mkdirSync(folder, { recursive: true });
    Deno.copyFileSync(gguf, path);
    Deno.truncateSync(path, bytes);
    Deno.writeTextFileSync(`${path}.sha256`, `${sha256}  ${file}\n`);
  }
}

/** Files of the names that the documentation's commands use. */
function fillStart(folder: string, { model, gguf }: { model: string; gguf: string }): void {
  const pairs = rows.trimEnd().split("\n").map((line) => JSON.parse(line));
  const cells = (names: string[]): Cells => [names, ...pairs.map(({ instruction, output }) => [instruction, output])];
  const files: Record<string, string | Uint8Array> = {
    ...Object.fromEntries(["rows.jsonl", "more.jsonl", "questions.jsonl"].map((name) => [name, rows])),
    "rows.csv": csvOf(cells(["question", "answer"])),
    "table.csv": csvOf(cells(["Q", "A"])),
    "book.xlsx": xlsxOf({ rows: cells(["Q", "A"]) }),
    "rows.xlsx": xlsxOf({ rows: cells(["instruction", "output"]) }),
    "chats.parquet": parquetOf(cells(["instruction", "output"])),
    "question.txt": "What is number 1?\n",
    "mine.yaml": "model: Qwen/Qwen3-0.6B\ndata: rows.jsonl\nnum_train_epochs: 3\nr: 32\nlora_alpha: 32\n",
    "grid.yaml": "data: [rows.jsonl, more.jsonl]\nseed: [1, 2, 3]\nr: [8, 16]\n",
    "ranks.yaml": "r: [8, 16]\n",
  };
  for (const [name, content] of Object.entries(files)) {
    Deno.writeFileSync(join(folder, name), typeof content === "string" ? new TextEncoder().encode(content) : content);
  }
  Deno.copyFileSync(gguf, join(folder, "model.gguf"));
  for (const name of ["Llama-3.1-8B", "Qwen3-0.6B"]) Deno.symlinkSync(model, join(folder, "models", name));
}

async function mustRun(command: string, { cwd, env }: { cwd: string; env: Record<string, string> }): Promise<void> {
  const { success, stderr } = await new Deno.Command("bash", { args: ["-c", command], cwd, env, stdout: "null" })
    .output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
}

/** Links are copied as links. */
function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(from)) {
    const source = join(from, name), target = join(to, name);
    if (isDirectory) copyFolder(source, target);
    else if (isSymlink) Deno.symlinkSync(Deno.readLinkSync(source), target);
    else Deno.copyFileSync(source, target);
  }
}
