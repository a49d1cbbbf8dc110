/**
 * One cell of an experiment: its training and its evaluation, each a process of its own, and what its folder tells of
 * how far it came. A cell that was stopped at any moment goes on from there; a finished one is left as it is.
 */
import { join } from "node:path";
import { stringify } from "yaml";
import { UserError } from "../errors.ts";
import type { EvalResults } from "../eval/results.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { makeFolder, removeFolder } from "../files/folder.ts";
import { lockFolder } from "../files/lock.ts";
import { kindOfPath, readJson } from "../model/model_files.ts";
import { listCheckpoints } from "../train/checkpoint.ts";
import { cardEnergy, processorEnergy } from "./energy.ts";
import { type CellEvaluation, type PlannedCell, showSetting } from "./experiment_plan.ts";
import { type Ended, runOwn } from "./own_process.ts";
import { readEvalFile } from "./result_files.ts";
import { runFiles, saysTaken } from "./run_folder.ts";

/** Where each thing of a cell lies. */
export const cellFiles = {
  settings: "train.yaml",
  record: "cell.json",
  run: "run",
  evaluation: "eval.json",
  output: "output.txt",
} as const;

/** What a training took; null where it was not measured, or a part of it was killed together with the experiment. */
interface TrainingCosts {
  train_seconds: number | null;
  /** Of the machine's processors, and of its graphics cards; the latter missing in records of earlier versions. */
  energy_joules: number | null;
  card_energy_joules?: number | null;
}

const unknownCosts = { train_seconds: null, energy_joules: null, card_energy_joules: null };
const noCosts = { train_seconds: 0, energy_joules: 0, card_energy_joules: 0 };

/** What is known of a cell, in its cell.json. */
export interface CellRecord extends TrainingCosts {
  /** What it was trained with; another value is another cell. */
  given: Record<string, unknown>;
  /** sha256 of its data. */
  data: string;
  evaluation: CellEvaluation;
  trained: boolean;
  evaluated: boolean;
  eval_seconds: number | null;
  /** Why the last attempt failed. */
  error: string | null;
}

/** What is to be done next: training from the start, going on with one, evaluation, or nothing. */
export type Stage = "train" | "resume" | "eval" | "done";

export function nextStage(
  record: Pick<CellRecord, "trained" | "evaluated">,
  { checkpoints }: { checkpoints: number },
): Stage {
  if (record.trained) return record.evaluated ? "done" : "eval";
  return checkpoints > 0 ? "resume" : "train";
}

/** What an earlier start of the experiment left; a new record where there is none. UserError for another cell's. */
export function openRecord(
  folder: string,
  { given, evaluation, data }: Pick<CellRecord, "given" | "evaluation" | "data">,
): CellRecord {
  const fresh: CellRecord = {
    ...{ given, data, evaluation, trained: false, evaluated: false },
    ...{ ...unknownCosts, eval_seconds: null, error: null },
  };
  const path = join(folder, cellFiles.record);
  if (kindOfPath(path) === "nothing") return fresh;
  const found = (readJson(path) ?? {}) as CellRecord;
  const names = [...new Set([...Object.keys(found.given ?? {}), ...Object.keys(given)])];
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  const other = names.find((name) => !same(found.given?.[name], given[name])) ??
    (found.data === data ? undefined : "data");
  if (other !== undefined) {
    const change = other === "data" && same(found.given?.data, given.data)
      ? `the content of ${showSetting(given.data)} was another`
      : `${other} was ${JSON.stringify(found.given?.[other] ?? null)} and is ${JSON.stringify(given[other] ?? null)}`;
    throw new UserError(`Cannot go on in ${folder}: ${change}`, {
      hint: "Choose another folder with --output-dir, or remove this one.",
    });
  }
  return { ...found, evaluation, evaluated: found.evaluated && same(found.evaluation, evaluation) };
}

/** How a cell's folder stands. */
export function stageOf(folder: string, record: CellRecord): Stage {
  return nextStage(record, {
    checkpoints: listCheckpoints(join(folder, cellFiles.run, runFiles.checkpoints)).length,
  });
}

interface CellWork {
  folder: string;
  /** Where the answers of the base model are kept for all cells. */
  baseAnswers: string;
  record: CellRecord;
  signal: AbortSignal;
  show: (text: string) => void;
}

/** Does what is left of a cell. Returns its record, also on the disk, finished unless `error` or the signal says more. */
export async function runCell({ given, settings }: PlannedCell, work: CellWork): Promise<CellRecord> {
  const { folder, baseAnswers, signal, show } = work;
  makeFolder(folder);
  writeTextAtomic(join(folder, cellFiles.settings), stringify(given));
  let record: CellRecord = { ...work.record, error: null };
  const keep = (change: Partial<CellRecord>) => {
    record = { ...record, ...change };
    writeTextAtomic(join(folder, cellFiles.record), JSON.stringify(record, null, 2) + "\n");
  };
  keep({});
  const run = join(folder, cellFiles.run), evaluation = join(folder, cellFiles.evaluation);
  const start = async (stage: Stage, args: string[]) => {
    const begun = performance.now(), output = join(folder, cellFiles.output);
    const ended = await runOwn(args, { signal, output, onLine: (line) => show(`${stage}: ${line}`) });
    return { ended, seconds: (performance.now() - begun) / 1000 };
  };

  /** Returns whether another process had the run's folder. */
  const train = async (stage: "train" | "resume"): Promise<boolean> => {
    const earlier: TrainingCosts = stage === "train" ? noCosts : record;
    // Until it has ended: a kill on the way leaves no half sums behind.
    keep(unknownCosts);
    const processors = processorEnergy(), cards = cardEnergy();
    const { ended, seconds } = await start(
      stage,
      stage === "train" ? ["train", join(folder, cellFiles.settings), "--output-dir", run] : ["train", "--resume", run],
    );
    const add = (before: number | null = null, now: number | null) =>
      before === null || now === null ? null : before + now;
    const late = !signal.aborted && cameLate(ended);
    if (!late) {
      keep({
        trained: ended.code === 0,
        train_seconds: add(earlier.train_seconds, seconds),
        energy_joules: add(earlier.energy_joules, await processors.take()),
        card_energy_joules: add(earlier.card_energy_joules, await cards.take()),
        error: signal.aborted ? null : whyFailed("training", ended),
      });
    }
    processors.close();
    cards.close();
    return late;
  };
  for (let late = true; late;) {
    const stage = await stageWhenFree(folder, { record, signal, show });
    late = !signal.aborted && (stage === "train" || stage === "resume") && await train(stage);
  }
  if (!signal.aborted && record.trained && !record.evaluated) {
    const { limit, max_new_tokens } = record.evaluation;
    const { ended, seconds } = await start("eval", [
      ...[
        "eval",
        run,
        "--output-file",
        evaluation,
        "--limit",
        String(limit),
        "--max-new-tokens",
        String(max_new_tokens),
      ],
      ...["--base-answers", baseAnswers, "--engine", settings.engine, "--threads", String(settings.threads)],
    ]);
    const good = ended.code === 0 && readEvaluation(folder) !== null;
    keep({
      evaluated: good,
      eval_seconds: good ? seconds : null,
      error: signal.aborted || good ? null : whyFailed("evaluation", ended),
    });
  }
  return record;
}

/** What ftl eval wrote, null where it is not there or not complete. */
export function readEvaluation(folder: string): EvalResults | null {
  const path = join(folder, cellFiles.evaluation);
  if (kindOfPath(path) !== "file") return null;
  const found = readEvalFile(path);
  return found.complete ? found : null;
}

/** The line that says it best: the program's own, else the last one. */
export function whyFailed(what: string, { code, tail, killedBy }: Ended): string | null {
  if (code === 0) return null;
  if (killedBy !== null) return `${what} was ended by ${killedBy}${killedBy === "SIGKILL" ? ", out of memory?" : ""}`;
  const own = tail.findLast((line) => line.startsWith("ftl: "));
  return `${what}: ${own?.slice("ftl: ".length) ?? tail.findLast((line) => line.trim() !== "") ?? `exit code ${code}`}`;
}

/**
 * What was under way when its experiment was killed goes on by itself for a while: waits until it has left its folder,
 * and locks that. Null where there is no folder, or the wait was broken off.
 */
export async function holdFolder(
  folder: string,
  { signal, show }: { signal: AbortSignal; show: (text: string) => void },
): Promise<{ release(): void } | null> {
  while (!signal.aborted && kindOfPath(folder) === "folder") {
    try {
      return lockFolder(folder);
    } catch (error) {
      if (!(error instanceof UserError) || !saysTaken(error.message)) throw error;
      show(`waiting: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return null;
}

/**
 * Whether a process was refused its folder because another was there first: one that a killed experiment had only just
 * started, so that it had not locked the folder when it was looked at.
 */
export function cameLate({ code, tail }: Ended): boolean {
  return code !== 0 && tail.some((line) => line.startsWith("ftl: ") && saysTaken(line));
}

/** How a cell stands when nobody writes its run any more. What was trained without a checkpoint is removed. */
async function stageWhenFree(
  folder: string,
  { record, ...waiting }: { record: CellRecord; signal: AbortSignal; show: (text: string) => void },
): Promise<Stage> {
  const run = join(folder, cellFiles.run), held = await holdFolder(run, waiting);
  try {
    const stage = stageOf(folder, record);
    if (stage === "train" && held) empty(run);
    return stage;
  } finally {
    held?.release();
  }
}

/** Removes all that lies in a folder, except its lock. */
function empty(folder: string): void {
  for (const { name } of [...Deno.readDirSync(folder)]) if (name !== ".lock") removeFolder(join(folder, name));
}
