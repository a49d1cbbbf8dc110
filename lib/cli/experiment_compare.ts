/**
 * The end of an experiment: base models and the models of all finished cells are asked the same questions by `ftl compare`,
 * a process of its own, in a folder whose log keeps every answer: started again, it asks only for what is missing.
 */
import { join } from "node:path";
import { type CompareResults, groupModels, type ModelGroup } from "../eval/comparison.ts";
import type { ExperimentResults } from "../eval/experiment.ts";
import { makeFolder } from "../files/folder.ts";
import { kindOfPath } from "../model/model_files.ts";
import { cameLate, cellFiles, holdFolder, whyFailed } from "./experiment_cell.ts";
import type { ExperimentPlan, PlannedCell } from "./experiment_plan.ts";
import { type Ended, runOwn } from "./own_process.ts";
import { readComparisonFile } from "./result_files.ts";

/** Inside the experiment's folder: what ftl compare writes, and what it printed. */
const compareFolder = "compare", outputFile = "output.txt";

/** Asks what is missing. `cells`: the finished ones. Returns why it failed, or null. */
export async function compareCells(
  into: string,
  { plan, cells, signal, show }: {
    plan: ExperimentPlan;
    cells: PlannedCell[];
    signal: AbortSignal;
    show: (text: string) => void;
  },
): Promise<string | null> {
  const folder = join(into, compareFolder);
  makeFolder(folder);
  const { limit, max_new_tokens } = plan.evaluation;
  const args = [
    "compare",
    ...basesOf(cells),
    ...cells.map(({ name }) => runOf(into, name)),
    ...plan.compare.flatMap((file) => ["--data", file]),
    ...["--limit", String(limit), "--max-new-tokens", String(max_new_tokens), "--output-dir", folder],
    // Where cells differ in it, one for all of them.
    ...["--engine", onlyOne(cells.map(({ settings }) => settings.engine)) ?? "auto"],
    ...["--threads", String(onlyOne(cells.map(({ settings }) => settings.threads)) ?? 0)],
  ];
  let ended: Ended;
  do {
    (await holdFolder(folder, { signal, show }))?.release();
    ended = await runOwn(args, {
      signal,
      output: join(folder, outputFile),
      onLine: (line) => show(`compare: ${line}`),
    });
  } while (!signal.aborted && cameLate(ended));
  return signal.aborted ? null : whyFailed("comparison", ended);
}

const runOf = (into: string, cell: string) => join(into, cell, cellFiles.run);

/** The models that cells were made of, each once. */
function basesOf(cells: PlannedCell[]): string[] {
  return [...new Set(cells.map(({ settings }) => settings.model))];
}

function onlyOne<T>(values: T[]): T | undefined {
  return new Set(values).size === 1 ? values[0] : undefined;
}

/** What ftl compare found; null where it was not there yet. */
export function readComparison(into: string): CompareResults | null {
  const path = join(into, compareFolder, "results.json");
  return kindOfPath(path) === "file" ? readComparisonFile(path) : null;
}

/** Base models, then a line for each group of cells, its seeds averaged. */
export function comparedGroups(
  comparison: CompareResults,
  { cells, groups }: Pick<ExperimentResults, "cells" | "groups">,
): ModelGroup[] {
  // By the ends of their paths: the experiment may lie elsewhere by now.
  const cellOf = (model: string) => cells.find(({ name }) => model.endsWith(join("/", runOf("", name))))?.name;
  const names = comparison.models.map(({ name }) => name);
  return groupModels(comparison, [
    ...names.filter((name) => cellOf(name) === undefined).map((name) => ({ label: `${name}, base`, names: [name] })),
    ...groups.map(({ label, cells }) => ({ label, names: names.filter((name) => cells.includes(cellOf(name) ?? "")) })),
  ], { seed: comparison.settings.seed });
}
