/**
 * Kills real commands with SIGKILL at random moments, by the clock or at one of their writes, starts them again as a
 * person would, and compares what they come to with what one left alone came to. Used by a test, with a few kills, and by
 * tests/bench/kill_runs.ts, with hundreds.
 */
import assert from "node:assert/strict";
import type { CompareResults } from "../../lib/eval/comparison.ts";
import { listCheckpoints } from "../../lib/train/checkpoint.ts";
import { kindOfPath } from "../../lib/model/model_files.ts";
import { filesBelow } from "./files_below.ts";
import { ftlCommand, type Ran, type Workplace } from "./ftl.ts";
import { outcomeOf, stepsOf, thirtySteps } from "./interrupted_run.ts";

/** Something that is killed: how it is begun and gone on with, and what must be the same in the end. */
export interface Victim {
  name: string;
  /** The folder that it writes. */
  folder: string;
  /** Arguments of the command, the first time and every time after a kill. */
  args(): string[];
  /** What is true after every kill. */
  check?(): void;
  /** What is true of how it went on from the kill before, by what it printed. */
  wentOn?(said: string): void;
  outcome(): unknown;
}

export interface Kills {
  /** Moments that were to be kills, and those at which the command had ended by itself. */
  kills: number;
  ended: number;
}

/** A generator of numbers from 0 to 1 that a seed repeats (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Runs it once undisturbed: how long it takes, and how many changes of files it makes. */
export async function measure(victim: Victim, place: Workplace): Promise<{ seconds: number; changes: number }> {
  const begun = performance.now();
  const { ran, changes } = await runWatched(victim, place, {});
  assert.equal(ran.code, 0, ran.stderr);
  return { seconds: (performance.now() - begun) / 1000, changes };
}

/**
 * Kills it `times` times in a row, lets it come to its end, and compares that with `expected`. A kill by the clock or at
 * a change of a file; of the whole tree of processes, or of the first alone.
 */
export async function killAgainAndAgain(
  victim: Victim,
  place: Workplace,
  { times, random, usual, expected }: {
    times: number;
    random: () => number;
    usual: { seconds: number; changes: number };
    expected: unknown;
  },
): Promise<Kills> {
  const found: Kills = { kills: 0, ended: 0 };
  for (let i = 0; i < times; i++) {
    const moment = random() < 0.5
      ? { afterSeconds: random() * usual.seconds }
      : { atChange: 1 + Math.floor(random() * usual.changes) };
    const { ran, killed } = await runWatched(victim, place, { ...moment, tree: random() < 0.5 });
    if (killed) found.kills++;
    else {
      found.ended++;
      assert.equal(ran.code, 0, `${victim.name}: ${ran.stderr}`);
    }
    victim.check?.();
    victim.wentOn?.(ran.stderr);
  }
  const last = await place.ftl(victim.args());
  assert.equal(last.code, 0, `${victim.name}: ${last.stderr}`);
  victim.wentOn?.(last.stderr);
  assert.deepEqual(victim.outcome(), expected, victim.name);
  const left = filesBelow(victim.folder).filter((name) => /\.part$|\.lock$|\.damaged$/.test(name));
  assert.deepEqual(left, [], `${victim.name}: left behind`);
  return found;
}

/** Starts it, and kills it after a time or at the n-th change of a file below its folder. */
async function runWatched(
  victim: Victim,
  { folder }: Workplace,
  { afterSeconds, atChange = Infinity, tree = false }: { afterSeconds?: number; atChange?: number; tree?: boolean },
): Promise<{ ran: Ran; killed: boolean; changes: number }> {
  const [program, ...args] = ftlCommand(victim.args());
  Deno.mkdirSync(victim.folder, { recursive: true });
  const watcher = Deno.watchFs(victim.folder, { recursive: true });
  const child = new Deno.Command(program, {
    args,
    cwd: folder,
    env: { FTL_CACHE: `${folder}/cache`, NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let changes = 0, killed = false;
  const kill = () => {
    if (killed) return;
    killed = true;
    for (const pid of [child.pid, ...(tree ? childrenOf(child.pid) : [])]) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  };
  const watching = (async () => {
    for await (const { kind } of watcher) if (kind !== "access" && ++changes >= atChange) kill();
  })();
  const timer = afterSeconds === undefined ? undefined : setTimeout(kill, 1000 * afterSeconds);
  const [stdout, stderr, { code, signal }] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.status,
  ]);
  clearTimeout(timer);
  watcher.close();
  await watching;
  return { ran: { code, stdout, stderr }, killed: signal === "SIGKILL", changes };
}

/** Processes that a process started, and theirs. */
function childrenOf(pid: number): number[] {
  const found: number[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const [, parent] = /\) \S (\d+)/.exec(Deno.readTextFileSync(`/proc/${name}/stat`))!;
      if (Number(parent) === pid) found.push(Number(name), ...childrenOf(Number(name)));
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

/** A training of ten steps with a checkpoint every `saveSteps`. */
export function training(place: Workplace, { name, saveSteps, more = [] }: {
  name: string;
  saveSteps: number;
  more?: string[];
}): Victim {
  const run = `${place.folder}/${name}`;
  let newest = -1;
  const isBegun = () => kindOfPath(`${run}/config.yaml`) === "file";
  return {
    name,
    folder: run,
    args: () =>
      isBegun()
        ? ["train", "--resume", name]
        : [...thirtySteps, "-s", "10", "-o", name, "--save-steps", String(saveSteps), ...more],
    check() {
      newest = listCheckpoints(`${run}/checkpoints`).at(-1)?.step ?? -1;
      const steps = stepsOf(run);
      assert.ok(
        newest >= Math.floor((steps - 1) / saveSteps) * saveSteps || steps <= saveSteps,
        `${newest} of ${steps}`,
      );
    },
    wentOn(said) {
      const from = /^resumed at step (\d+) /m.exec(said);
      if (from) assert.ok(Number(from[1]) <= 10 && !/damaged|lost/.test(said), said);
    },
    outcome: () => outcomeOf(run),
  };
}

/** An export of a run in several forms, over an earlier one. */
export function exporting(place: Workplace, { run, name }: { run: string; name: string }): Victim {
  const folder = `${place.folder}/${name}`;
  return {
    name,
    folder,
    args: () => ["export", run, "--to", "f16,q8_0,lora,safetensors", "--split-max-size", "0.3M", "-o", name],
    outcome: () => filesBelow(folder).map((path) => [path, Deno.readFileSync(`${folder}/${path}`)]),
  };
}

/** An experiment of two cells, and a comparison of what they come to. */
export function experimenting(place: Workplace, { name }: { name: string }): Victim {
  const folder = `${place.folder}/${name}`;
  const settings = [
    ...[
      "model: model",
      "data: [two.jsonl, rows.jsonl]",
      "seed: [1]",
      "max_steps: 3",
      "warmup_steps: 1",
      "save_steps: 1",
    ],
    ...["learning_rate: 1e-2", "threads: 1", "engine: onnx", "limit: 1", "max_new_tokens: 3"],
    "compare: rows.jsonl",
  ];
  place.write("grid.yaml", settings.join("\n") + "\n");
  place.write(
    "two.jsonl",
    Deno.readTextFileSync(`${place.folder}/rows.jsonl`).split("\n").slice(0, 2).join("\n") + "\n",
  );
  return {
    name,
    folder,
    args: () => ["experiment", "grid.yaml", "-o", name],
    outcome() {
      const { cells, groups, ...rest } = JSON.parse(Deno.readTextFileSync(`${folder}/results.json`));
      // Without what another run cannot repeat.
      const lasting = cells.map((cell: object) => ({
        ...cell,
        train_seconds: 0,
        eval_seconds: 0,
        memory_bytes: 0,
        energy_joules: 0,
        card_energy_joules: 0,
      }));
      const { models } = JSON.parse(Deno.readTextFileSync(`${folder}/compare/results.json`)) as CompareResults;
      const compared = models.map((model) => [model.name.replace(name, ""), ...model.answers.map(({ text }) => text)]);
      return { ...rest, created: "", cells: lasting, groups, compared };
    },
  };
}
