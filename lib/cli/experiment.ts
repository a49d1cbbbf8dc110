/**
 * `ftl experiment`: a grid of trainings, each measured beside the model as it was. The cells run one after the other,
 * each in processes of its own; the same command goes on where it was stopped, whatever stopped it.
 */
import { join } from "node:path";
import sizes from "../../templates/presets/sizes.yaml" with { type: "text" };
import { type ExperimentResults, groupCells } from "../eval/experiment.ts";
import type { EvalResults } from "../eval/results.ts";
import { makeFolder } from "../files/folder.ts";
import { lockFolder } from "../files/lock.ts";
import { readText } from "../model/model_files.ts";
import { alignedTable } from "./answer_table.ts";
import { showGroups } from "./compare_report.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { questionSets } from "./eval_rows.ts";
import { type CellRecord, openRecord, runCell, type Stage, stageOf } from "./experiment_cell.ts";
import { compareCells, comparedGroups, readComparison } from "./experiment_compare.ts";
import { type CellData, makeDataReader } from "./experiment_data.ts";
import { type ExperimentPlan, lastPart, planExperiment, type PlannedCell } from "./experiment_plan.ts";
import { cellResult, makeLabels, showExperiment, writeResults } from "./experiment_report.ts";
import type { Settings } from "./options.ts";
import { versionNumber } from "./overview.ts";
import { liveLine } from "./progress.ts";
import { windowsOf } from "./train_setup.ts";
import { asTyped, onInterrupt, showSeconds, StoppedError } from "./terminal.ts";

const presets: Record<string, string> = { sizes };
/** Of the intervals, so that the same answers give the same numbers. */
const bootstrapSeed = 3407;

export const shape: CommandShape = {
  name: "experiment",
  summary:
    "Trains and measures a grid of settings. The file has lines of ftl train's settings; a list of values makes one\n" +
    "training for each: data: [4.jsonl, 8.jsonl], seed: [1, 2, 3], r, learning_rate, model, engine. limit and\n" +
    "max_new_tokens are ftl eval's; compare: [questions.jsonl] asks base and trained models these in the end. Cells that\n" +
    "differ in their seed alone are averaged. The same command goes on where it was stopped, and tries again what failed.",
  usage: "[experiment.yaml | sizes]",
  most: 1,
  takes: [{ words: ["sizes"], kinds: ["file"] }],
  examples: [
    ["ftl experiment", "the preset sizes: 4, 8 and 16 sample rows, three seeds each"],
    ["ftl experiment sizes --set seed=[3407] --set max_steps=10 -o runs/quick", "less of it"],
    ["ftl experiment ranks.yaml --dry-run", "what a grid of your own comes to"],
    ["ftl report runs/sizes", "afterwards: a page about it"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const settings = settingsOf("experiment", line);
  const what = line.positional[0] ?? "sizes", preset = Object.hasOwn(presets, what);
  const file = { text: preset ? presets[what] : readText(what), name: preset ? `preset ${what}` : what };
  const plan = planExperiment(file, { set: settings.set });
  const name = preset ? what : lastPart(what).replace(/\.ya?ml$/i, "");
  return await experiment(name, plan, { ...settings, into: settings.output_dir ?? join("runs", name) });
}

/** A cell with its folder, and how far it came. */
interface Cell extends PlannedCell {
  folder: string;
  rows: number;
  record: CellRecord;
  stage: Stage;
  /** Rows of all its steps together, what its time goes by. */
  work: number;
}

async function experiment(
  name: string,
  plan: ExperimentPlan,
  { into, dry_run }: Settings<"experiment"> & { into: string },
): Promise<number> {
  const dataOf = makeDataReader(), cells: Cell[] = [];
  for (const cell of plan.cells) {
    cells.push(openCell(cell, { into, evaluation: plan.evaluation, data: await dataOf(cell.settings) }));
  }
  // Read now, so that what is wrong with the questions is not found out when all is trained.
  if (plan.compare.length > 0) await questionSets({ files: plan.compare, what: null, limit: 0 });
  console.error(showPlan(cells, into));
  if (dry_run) return 0;
  makeFolder(into);
  const lock = lockFolder(into);
  const live = liveLine();
  const interrupt = onInterrupt(() => {
    live.end();
    console.error("stopping after this step; press Ctrl-C again to quit at once");
  });
  const { signal } = interrupt;
  try {
    for (const [i, cell] of cells.entries()) {
      if (signal.aborted || cell.stage === "done") continue;
      const head = `cell ${i + 1} of ${cells.length}, ${cell.name}`;
      live.show(`${head}: ${cell.stage === "train" ? "begins" : "goes on"}`, true);
      const show = (text: string) => live.show(`${head}: ${text}`);
      cell.record = await runCell(cell, { ...cell, baseAnswers: join(into, "base_answers.json"), signal, show });
      writeResults(into, resultsOf(name, plan, cells));
      if (cell.record.error === null) continue;
      live.end();
      console.error(`${head}: failed: ${cell.record.error}`);
    }
    const results = resultsOf(name, plan, cells);
    writeResults(into, results);
    const failure = signal.aborted ? null : await compare(into, { plan, cells, results, signal, show: live.show });
    live.end();
    console.log(`\n${showExperiment(results)}`);
    const comparison = readComparison(into);
    if (comparison) {
      console.log(`\n${showGroups(comparison, comparedGroups(comparison, results))}`);
    }
    if (failure !== null) console.error(failure);
    if (!signal.aborted && (failure !== null || !results.complete)) {
      console.error("the same command tries again what failed, and leaves what is finished as it is");
    }
    console.error(asTyped(`\nevery number: ${join(into, "results.json")}; a page about it: ftl report ${into}`));
    if (signal.aborted) {
      console.error("stopped; the same command goes on from here");
      throw new StoppedError();
    }
    return results.complete && failure === null ? 0 : 1;
  } finally {
    live.end();
    interrupt.release();
    lock.release();
  }
}

/** Asks base and finished cells the questions of the comparison, where there is one. Returns why it failed, or null. */
async function compare(
  into: string,
  { results, cells, ...rest }: {
    plan: ExperimentPlan;
    cells: Cell[];
    results: ExperimentResults;
    signal: AbortSignal;
    show: (text: string) => void;
  },
): Promise<string | null> {
  const done = cells.filter((_, i) => results.cells[i].status === "done");
  if (rest.plan.compare.length === 0 || done.length === 0) return null;
  return await compareCells(into, { cells: done, ...rest });
}

function openCell(
  cell: PlannedCell,
  { into, evaluation, data: { rows, sha256 } }: {
    into: string;
    evaluation: ExperimentPlan["evaluation"];
    data: CellData;
  },
): Cell {
  const folder = join(into, cell.name), { settings } = cell;
  const record = openRecord(folder, { given: cell.given, evaluation, data: sha256 });
  const windows = windowsOf(settings, rows);
  return {
    ...cell,
    folder,
    rows,
    record,
    stage: stageOf(folder, record),
    work: Math.round(windows.totalSteps * rows / windows.stepsPerEpoch),
  };
}

const stageWords: Record<Stage, string> = {
  train: "to be trained",
  resume: "half trained",
  eval: "trained, to be measured",
  done: "finished",
};

function showPlan(cells: Cell[], into: string): string {
  const table = cells.map(({ name, rows, work, stage, record }) => [
    name,
    `${rows} rows`,
    `${work} rows in all steps`,
    stageWords[stage] + (record.error === null ? "" : ", failed before"),
  ]);
  return [
    `${cells.length} cells in ${into}`,
    alignedTable(table, { left: true }),
    showEstimate(cells),
  ].join("\n");
}

/** Time left, from the cells that are finished: training goes by rows, evaluation takes as long every time. */
function showEstimate(cells: Cell[]): string {
  const left = cells.filter(({ stage }) => stage !== "done");
  // A cell that was killed on its way is without its time.
  const done = cells.filter(({ stage, record }) => stage === "done" && record.train_seconds !== null);
  if (left.length === 0) return "all are finished";
  const train = done.reduce((sum, { record }) => sum + (record.train_seconds ?? 0), 0);
  const evaluation = done.reduce((sum, { record }) => sum + (record.eval_seconds ?? 0), 0);
  const work = done.reduce((sum, { work }) => sum + work, 0);
  if (work === 0) {
    return "time left: known when the first cell is finished; 30 steps of 8 rows take the default model 2 to 3 minutes on two cores";
  }
  const seconds = left.reduce((sum, cell) => sum + cell.work * train / work + evaluation / done.length, 0);
  return `time left: about ${showSeconds(seconds)}, judged by ${done.length} finished ${
    done.length === 1 ? "cell" : "cells"
  }`;
}

function resultsOf(name: string, { settings, axes }: ExperimentPlan, cells: Cell[]): ExperimentResults {
  const evaluated = new Map<string, EvalResults>();
  const found = cells.map((cell) => {
    const { cell: result, evaluation } = cellResult(cell, cell);
    if (evaluation) evaluated.set(cell.name, evaluation);
    return result;
  });
  return {
    format: "ftl-experiment/1",
    version: versionNumber,
    created: new Date().toISOString(),
    name,
    complete: found.every(({ status }) => status === "done"),
    settings,
    axes,
    cells: found,
    groups: groupCells(found, { evaluated, seed: bootstrapSeed, labelOf: makeLabels(found.map(({ axes }) => axes)) }),
  };
}
