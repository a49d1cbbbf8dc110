/**
 * Every command that writes, on a disk that fails at any of its operations: it says so in one line with what to do, what
 * was there before stays as it was, nothing half-written is left, and the same command afterwards comes to the same.
 * Training itself: tests/train/failing_disk_test.ts.
 */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { makeFolder } from "../../lib/files/folder.ts";
import { writeAtomic } from "../../lib/files/atomic.ts";
import { onFailingDisk, type Refusal, refusalAt } from "../helpers/failing_disk.ts";
import { filesBelow } from "../helpers/files_below.ts";
import { inWorkplace, type Ran, type Workplace } from "../helpers/ftl.ts";
import { ftlHere, withFtlHere } from "../helpers/ftl_here.ts";
import { withHub } from "../helpers/hub_server.ts";
import { outcomeOf } from "../helpers/interrupted_run.ts";

interface Case {
  what: string;
  /** Commands that run before. */
  before?: string[][];
  args: string[];
  /** How it is gone on with after a failure, where that is by another command. */
  again?(folder: string): string[];
  /** What must be the same in the end. */
  outcome(folder: string): unknown;
  /** Files that it replaces or removes: each may be as it was, or as it shall be. All others stay as they are. */
  replaces?: RegExp;
  /** Operations from one that fails to the next, where most are alike. */
  every?: number;
}

const engine = ["--engine", "onnx", "--threads", "1"];
/** Arguments name files of the test's folder by "@/". */
const training = ["train", "-m", "@/model", "-d", "@/rows.jsonl", "-s", "1", "-b", "2", "-g", "1", "--questions", "0"];
const run = [...training, "-o", "@/run", ...engine];
const clean = ["data", "@/rows.jsonl", "-m", "@/model", "-o", "@/clean.jsonl", "--eval-split", "0.4"];
const few = ["--limit", "1", "--max-new-tokens", "1", ...engine];
const isFile = (path: string) => filesBelow(dirname(path)).includes(path.slice(dirname(path).length + 1));
/** Without locks: one that could not be removed is nobody's. */
const namesIn = (folder: string) => filesBelow(folder).filter((name) => !/(^|\/)\.lock$/.test(name));
const contentOf = (folder: string) => namesIn(folder).map((path) => [path, Deno.readFileSync(join(folder, path))]);

/** Without locks and notes: those of what is not there, or not under way, do no harm. */
const hub = (folder: string) =>
  namesIn(`${folder}/hf/hub`).filter((name) => !/\.locks\/|\.incomplete\.json/.test(name));

/** A JSON file without what another run cannot repeat. */
function lasting(path: string): unknown {
  const changing = /^(created|.*seconds|.*_ms|memory_bytes|.*joules|tokens_per_second)$/;
  return JSON.parse(Deno.readTextFileSync(path), (key, value) => changing.test(key) ? 0 : value);
}

const cases: Case[] = [
  {
    what: "ftl train",
    args: run,
    again: (folder) => isFile(`${folder}/run/config.yaml`) ? ["train", "--resume", "@/run"] : run,
    outcome: (folder) => outcomeOf(`${folder}/run`),
    every: 2,
  },
  {
    what: "ftl export over an earlier one",
    before: [run, ["export", "@/model", "--to", "q8_0,safetensors", "-o", "@/out"]],
    args: ["export", "@/run", "--to", "q8_0,lora,safetensors", "-o", "@/out"],
    outcome: (folder) => contentOf(`${folder}/out`),
    replaces: /^out\//,
    every: 3,
  },
  {
    what: "ftl data --output-file",
    args: clean,
    again(folder) {
      // Renamed before the disk failed for good: it says that it is there, and what to do.
      for (const left of namesIn(folder).filter((name) => /^clean\./.test(name))) Deno.removeSync(`${folder}/${left}`);
      return clean;
    },
    outcome: (folder) => ["train", "eval"].map((part) => Deno.readTextFileSync(`${folder}/clean.${part}.jsonl`)),
  },
  {
    what: "ftl eval --output-file with shared answers",
    before: [run],
    args: ["eval", "@/run", "@/rows.jsonl", ...few, "-o", "@/eval.json", "--base-answers", "@/base.json"],
    outcome: (folder) => lasting(`${folder}/eval.json`),
  },
  {
    what: "ftl compare",
    before: [run],
    args: ["compare", "@/model", "@/run", "--data", "@/rows.jsonl", "--output-dir", "@/compare", ...few],
    outcome: (folder) => lasting(`${folder}/compare/results.json`),
  },
  {
    what: "ftl report",
    before: [run, ["report", "@/run"]],
    args: ["report", "@/run"],
    outcome: (folder) => namesIn(`${folder}/run/report`),
    replaces: /^run\/report\//,
    every: 9,
  },
  {
    what: "ftl experiment",
    args: ["experiment", "@/grid.yaml", "-o", "@/experiment"],
    outcome: (folder) => [lasting(`${folder}/experiment/results.json`), namesIn(`${folder}/experiment`)],
  },
  {
    what: "ftl pull",
    args: ["pull", "org/tiny"],
    outcome: hub,
  },
  {
    what: "ftl models remove",
    before: [["pull", "org/tiny"], [...training, "-m", "org/tiny", "-o", "@/run", ...engine]],
    args: ["models", "remove", "org/tiny"],
    outcome: hub,
    replaces: /^(hf|cache)\//,
  },
  {
    what: "ftl models clear",
    before: [run],
    args: ["models", "clear"],
    outcome: (folder) => namesIn(`${folder}/cache`),
    replaces: /^cache\//,
  },
];

/** The bytes of everything below a folder, by path. */
type Files = Map<string, Uint8Array>;

const filesOf = (folder: string): Files => new Map(contentOf(folder) as [string, Uint8Array][]);

const same = (a: Uint8Array | undefined, b: Uint8Array | undefined) =>
  a !== undefined && b !== undefined && a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Puts a folder back to what it was; what is as it was is not touched, so that its time stays. */
function restore(folder: string, before: Files): void {
  const folders = new Set([...before.keys()].flatMap((path) => {
    const parts = path.split("/").slice(0, -1);
    return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
  }));
  const clean = (below: string) => {
    for (const { name, isDirectory } of [...Deno.readDirSync(join(folder, below))]) {
      const path = join(below, name);
      if (isDirectory && folders.has(path)) clean(path);
      else if (!before.has(path)) Deno.removeSync(join(folder, path), { recursive: true });
    }
  };
  clean("");
  for (const [path, bytes] of before) {
    if (isFile(join(folder, path)) && same(Deno.readFileSync(join(folder, path)), bytes)) continue;
    Deno.mkdirSync(dirname(join(folder, path)), { recursive: true });
    Deno.writeFileSync(join(folder, path), bytes);
  }
}

/** Numbers of operations that differ: of many alike that follow each other the first and the last. */
function different(names: string[]): number[] {
  return names.flatMap((name, i) => name === names[i - 1] && name === names[i + 1] ? [] : [i + 1]);
}

/** One line that says what failed and where, and one what to do. */
function assertSaid({ code, stdout, stderr }: Ran, about: string): void {
  const cause = "(the (disk|file system) .*|permission denied)", said = `${about}\n${stderr}`;
  assert.equal(code, 1, said);
  assert.doesNotMatch(stderr, /internal error|^\s+at /m, said);
  if (new RegExp(`^(failed: .*|comparison): Cannot .*: ${cause}$`, "m").test(stdout + stderr)) { // of an experiment
    return assert.match(stderr, /^the same command tries again what failed/m, said);
  }
  assert.match(stderr, new RegExp(`(^|\n)ftl: Cannot [^\n]+: ${cause}\n  try: [^\n]+\n$`), said);
}

/** What a process that an experiment starts would write, from what it once wrote. */
function standIn(folder: string, files: Files): (args: string[]) => Promise<Ran> {
  const named = ["--output-file", "--base-answers", "--resume", "--output-dir"];
  return (args) => {
    const places = args.filter((_, i) => named.includes(args[i - 1]));
    try {
      for (const [path, bytes] of files) {
        const place = join(folder, path), isOf = places.some((one) => place === one || place.startsWith(`${one}/`));
        if (!isOf || path.endsWith("/output.txt")) continue;
        makeFolder(dirname(place));
        writeAtomic(place, bytes);
      }
      return Promise.resolve({ code: 0, stdout: "", stderr: "" });
    } catch (error) {
      return Promise.resolve({ code: 1, stdout: "", stderr: `ftl: ${(error as Error).message}\n` });
    }
  };
}

async function failAtEach({ what, args, again, before, outcome, replaces, every = 1 }: Case, place: Workplace) {
  const { folder } = place, named = (words: string[]) => words.map((word) => word.replace("@/", `${folder}/`));
  for (const words of before ?? []) {
    const ran = await ftlHere(named(words));
    assert.equal(ran.code, 0, ran.stderr);
  }
  const files = filesOf(folder);
  const start = (refusal: Refusal) => onFailingDisk(folder, refusal, () => ftlHere(named(args)));
  const whole = await start(refusalAt(0));
  assert.equal(whole.result?.code, 0, whole.result?.stderr);
  const expected = outcome(folder), finished = filesOf(folder);
  child = standIn(folder, finished);
  restore(folder, files);
  const numbers = different((await start(refusalAt(0))).names).filter((_, i) => i % every === 0);
  let failures = 0;
  for (const number of numbers) {
    restore(folder, files);
    const refusal = refusalAt(number), { result, names } = await start(refusal);
    const about = `${what}: ${JSON.stringify(refusal)} (${names[number - 1]})`;
    const found = filesOf(folder), ran = result!;
    if (ran.code === 0) assert.deepEqual(outcome(folder), expected, about);
    else {
      failures++;
      assertSaid(ran, about);
    }
    for (const [path, bytes] of files) {
      if (same(found.get(path), bytes)) continue;
      assert.ok(replaces?.test(path), `${about}: ${path} is another`);
      const whole = finished.get(path), text = /\.(html|json|svg)$/.test(path);
      assert.ok(!found.has(path) || same(found.get(path), whole) || text, `${about}: ${path} is neither`);
    }
    const mayRemove = refusal.cause === "ENOSPC" || !refusal.lasting && !names[number - 1].startsWith("removeSync");
    const left = filesBelow(folder).filter((path) => /\.part$|\.tmp$|(^|\/)\.lock$/.test(path) && !files.has(path));
    if (mayRemove) assert.deepEqual(left, [], about);
    if (ran.code === 0) continue;
    const next = await ftlHere(named(again?.(folder) ?? args));
    assert.equal(next.code, 0, `${about}: again: ${next.stderr}`);
    assert.deepEqual(outcome(folder), expected, `${about}: again`);
  }
  assert.ok(failures > 0, "something failed");
}

/** What runs an experiment's processes. */
let child = ftlHere;

for (const one of cases) {
  Deno.test(`${one.what} on a disk that fails at any operation says so, and can be done again`, async () => {
    await inWorkplace(async (place) => {
      const { folder, write } = place;
      const grid = {
        ...{ model: `${folder}/model`, data: [`${folder}/rows.jsonl`], seed: [1], max_steps: 1, threads: 1 },
        ...{ limit: 1, max_new_tokens: 1, engine: "onnx", compare: [`${folder}/rows.jsonl`] },
      };
      write("grid.yaml", JSON.stringify(grid));
      const files = Object.fromEntries(contentOf(`${folder}/model`) as [string, Uint8Array][]);
      await withHub({ "org/tiny": { files } }, async (hub) => {
        child = ftlHere;
        const env = {
          ...{ FTL_CACHE: `${folder}/cache`, HF_HOME: `${folder}/hf`, HF_ENDPOINT: hub.endpoint, HF_TOKEN: "" },
          NO_COLOR: "1",
        };
        await withFtlHere({ env, child: (args) => child(args) }, () => failAtEach(one, place));
      });
    });
  });
}
