/** What an experiment's cells come to: results.json, results.csv and the table for a terminal. */
import { join } from "node:path";
import { toCsv } from "../eval/csv.ts";
import type { CellResult, ExperimentResults, GroupResult, Spread } from "../eval/experiment.ts";
import type { SetRole } from "../eval/questions.ts";
import { type EvalResults, type Measure, measures } from "../eval/results.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { peakMemory } from "../train/log.ts";
import { alignedTable, showEstimate, titleOf } from "./answer_table.ts";
import { cellFiles, type CellRecord, readEvaluation } from "./experiment_cell.ts";
import { lastPart, type PlannedCell, showSetting } from "./experiment_plan.ts";
import { runLog } from "./run_folder.ts";
import { showSeconds } from "./terminal.ts";

/** A cell's numbers, read from its folder. */
export function cellResult(
  { name, axes }: PlannedCell,
  { folder, record, rows }: { folder: string; record: CellRecord; rows: number },
): { cell: CellResult; evaluation: EvalResults | null } {
  const lines = record.trained ? runLog(join(folder, cellFiles.run)) : [];
  const evaluation = record.evaluated ? readEvaluation(folder) : null;
  const cell: CellResult = {
    ...{ name, axes, rows },
    status: evaluation ? "done" : record.error === null ? "unfinished" : "failed",
    ...record.error !== null && { error: record.error },
    steps: lines.at(-1)?.step ?? null,
    first_loss: lines[0]?.loss ?? null,
    final_loss: lines.at(-1)?.loss ?? null,
    train_seconds: record.trained ? record.train_seconds : null,
    eval_seconds: evaluation ? record.eval_seconds : null,
    memory_bytes: peakMemory(lines),
    energy_joules: record.trained ? record.energy_joules : null,
    card_energy_joules: record.trained ? record.card_energy_joules ?? null : null,
    sets: evaluation?.sets.map(({ name, role, scores }) => ({ name, role, scores })) ?? [],
  };
  return { cell, evaluation };
}

/** "cultural-qa-4, r 8". Files go by their last part where `axes`, the values of every cell, have none like it. */
export function makeLabels(axes: Record<string, unknown>[]): (axes: Record<string, unknown>) => string {
  const isClear = (name: string) => {
    const whole = new Set(axes.map((values) => values[name]));
    return new Set([...whole].map(lastPart)).size === whole.size;
  };
  const clear = ["data", "model"].filter(isClear);
  return (axes) => {
    const parts = Object.entries(axes).map(([name, value]) => {
      if (name !== "data" && name !== "model") return `${name} ${showSetting(value)}`;
      return clear.includes(name) ? lastPart(value) : showSetting(value);
    });
    return parts.join(", ") || "all";
  };
}

export function writeResults(folder: string, results: ExperimentResults): void {
  const write = (name: string, text: string) => writeTextAtomic(join(folder, name), text);
  write("results.json", JSON.stringify(results, null, 2) + "\n");
  write("results.csv", resultsCsv(results));
}

/** A line for each cell, set of questions and model; one line for a cell without an evaluation. */
export function resultsCsv({ axes, cells }: ExperimentResults): string {
  const numbers =
    "rows status error steps first_loss final_loss train_seconds eval_seconds memory_bytes energy_joules " +
    "card_energy_joules";
  const columns = ["cell", ...axes, ...numbers.split(" "), "set", "role", "model", ...measures.map(({ key }) => key)];
  return toCsv(
    columns,
    cells.flatMap(({ sets, name, axes, ...cell }) => {
      const head = { cell: name, ...mapValues(axes, showSetting), ...cell };
      if (sets.length === 0) return [head];
      return sets.flatMap(({ name: set, role, scores }) =>
        (["base", "tuned"] as const).map((model) => ({
          ...{ ...head, set, role, model },
          ...mapValues(scores[model] ?? {}, ({ value }) => value),
        }))
      );
    }),
  );
}

function mapValues<T, U>(object: Record<string, T>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
}

/** The measure of each set that a table has room for. */
const shownMeasures: [SetRole, string, Measure][] = [
  ["trained", "memorised", "exact"],
  ["unseen", "learned", "accepted"],
  ["control", "forgotten", "accepted"],
];

/** A line for each group, then what failed. */
export function showExperiment({ groups, cells }: ExperimentResults): string {
  const found = shownMeasures.filter(([role, , key]) =>
    groups.some(({ sets }) => sets.some((set) => set.role === role && set.scores.tuned?.[key]))
  );
  const table = [
    ["", "seeds", "last loss", ...found.map(([, word, key]) => `${word}: ${titleOf(key)}`)],
    ...groups.map((group) => [
      group.label,
      String(group.cells.length),
      showSpread(group.final_loss),
      ...found.map(([role, , key]) => showChange(group, role, key)),
    ]),
  ];
  const failed = cells.filter(({ status }) => status === "failed");
  const unfinished = cells.filter(({ status }) => status === "unfinished").length;
  const seconds = cells.reduce((sum, cell) => sum + (cell.train_seconds ?? 0) + (cell.eval_seconds ?? 0), 0);
  const untimed = cells.some(({ status, train_seconds }) => status === "done" && train_seconds === null);
  return [
    alignedTable(table, { indent: 0, left: true }),
    "",
    "last loss: mean over seeds (lowest to highest); others: base -> tuned, in brackets 95 % intervals over questions",
    `${cells.length - failed.length - unfinished} of ${cells.length} cells are finished, ${untimed ? "at least " : ""}${
      showSeconds(seconds)
    } in all`,
    ...failed.map(({ name, error }) => `failed: ${name}: ${error}`),
  ].join("\n");
}

export function showSpread(spread: Spread | null): string {
  if (!spread) return "-";
  const one = (value: number) => value.toFixed(4);
  return spread.seeds === 1 ? one(spread.mean) : `${one(spread.mean)} (${one(spread.low)} to ${one(spread.high)})`;
}

function showChange({ sets }: GroupResult, role: SetRole, key: Measure): string {
  const scores = sets.find((set) => set.role === role)?.scores;
  if (!scores) return "-";
  const base = scores.base?.[key];
  return `${base ? showEstimate({ ...base, low: null, high: null }, key) : "-"} -> ${
    showEstimate(scores.tuned?.[key], key)
  }`;
}
