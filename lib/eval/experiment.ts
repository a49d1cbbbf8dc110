/**
 * What an experiment found, as `ftl experiment` writes it to results.json and a report reads it: plain JSON, every number
 * unrounded. Cells that differ in nothing but their seed are a group: their mean is what a setting does, their spread is
 * chance. `format` changes when a field changes its meaning.
 */
import { type Estimate, estimateChange, estimateMean, type Share } from "./bootstrap.ts";
import type { SetRole } from "./questions.ts";
import { type EvalResults, type Measure, measures, type RowResult, type Scores, type Variant } from "./results.ts";
import { shareOf } from "./summary.ts";

export interface ExperimentResults {
  format: "ftl-experiment/1";
  version: string;
  /** ISO 8601, when this file was written. */
  created: string;
  name: string;
  /** False where cells failed or were not reached. */
  complete: boolean;
  /** The lines of the experiment. */
  settings: Record<string, unknown>;
  /** Names of the settings with several values. */
  axes: string[];
  cells: CellResult[];
  groups: GroupResult[];
}

export interface CellResult {
  /** Of its folder. */
  name: string;
  axes: Record<string, unknown>;
  /** Rows of its data. */
  rows: number;
  status: "done" | "failed" | "unfinished";
  /** Why it failed. */
  error?: string;
  steps: number | null;
  /** Training loss of the first and the last step, nats per token. */
  first_loss: number | null;
  final_loss: number | null;
  /** Of the processes, start and loading included; null where they did not end. */
  train_seconds: number | null;
  eval_seconds: number | null;
  /** Most resident memory of the training process after a step; null where its log does not tell. */
  memory_bytes: number | null;
  /** Of the machine's processors while it trained, and of its graphics cards; null where they do not tell. */
  energy_joules: number | null;
  card_energy_joules: number | null;
  sets: { name: string; role: SetRole; scores: Partial<Record<Variant | "change", Scores>> }[];
}

/** A mean over seeds and how far they lie apart. */
export interface Spread {
  mean: number;
  low: number;
  high: number;
  seeds: number;
}

export interface GroupResult {
  /** "cultural-qa-4" */
  label: string;
  /** Without the seed. */
  axes: Record<string, unknown>;
  rows: number;
  /** Names of the finished cells. */
  cells: string[];
  final_loss: Spread | null;
  sets: GroupSet[];
}

export interface GroupSet {
  name: string;
  role: SetRole;
  /** The interval is over questions, each one's score being its mean over the seeds. */
  scores: Partial<Record<Variant | "change", Scores>>;
  /** The tuned models' own scores. */
  seeds: Partial<Record<Measure, Spread>>;
}

export function spreadOf(values: number[]): Spread | null {
  if (values.length === 0) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, low: Math.min(...values), high: Math.max(...values), seeds: values.length };
}

/** `evaluated`: what ftl eval wrote of each finished cell, by the cell's name. */
export function groupCells(
  cells: CellResult[],
  { evaluated, seed, labelOf }: {
    evaluated: Map<string, EvalResults>;
    seed: number;
    labelOf: (axes: Record<string, unknown>) => string;
  },
): GroupResult[] {
  const withoutSeed = ({ axes: { seed: _, ...axes } }: CellResult) => axes;
  const groups = Map.groupBy(cells, (cell) => JSON.stringify(withoutSeed(cell)));
  return [...groups.values()].map((all) => {
    const done = all.filter(({ name, status }) => status === "done" && evaluated.has(name));
    const axes = withoutSeed(all[0]);
    return {
      label: labelOf(axes),
      axes,
      rows: all[0].rows,
      cells: done.map(({ name }) => name),
      final_loss: spreadOf(done.flatMap(({ final_loss }) => final_loss ?? [])),
      sets: groupSets(done.map(({ name }) => evaluated.get(name)!), { seed }),
    };
  });
}

/** The cells of a group were asked the same questions: each question's score is its mean over the seeds. */
function groupSets(evaluations: EvalResults[], options: { seed: number }): GroupSet[] {
  if (evaluations.length === 0) return [];
  return evaluations[0].sets.map(({ name, role }, s) => {
    const asked = evaluations.map(({ sets }) => sets[s].rows);
    const scores: GroupSet["scores"] = {}, seeds: GroupSet["seeds"] = {};
    for (const { key } of measures) {
      // The exponential of a mean of losses over seeds is the perplexity of no model.
      if (key === "perplexity") continue;
      const { base, tuned } = sharesOf(asked, key);
      put(scores, "base", key, estimateMean(base, options));
      put(scores, "tuned", key, estimateMean(tuned, options));
      if (base.length === tuned.length) put(scores, "change", key, estimateChange(base, tuned, options));
      const own = spreadOf(evaluations.flatMap(({ sets }) => sets[s].scores.tuned?.[key]?.value ?? []));
      if (own) seeds[key] = own;
    }
    return { name, role, scores, seeds };
  });
}

function put(scores: GroupSet["scores"], of: Variant | "change", key: Measure, estimate: Estimate | null): void {
  if (estimate) (scores[of] ??= {})[key] = estimate;
}

/** Of each question that every seed has a score of: what it adds to the means, averaged over the seeds. */
function sharesOf(asked: RowResult[][], measure: Measure): Record<Variant, Share[]> {
  const of = (variant: Variant) =>
    asked[0].flatMap((_, i) => {
      const shares = asked.flatMap((rows) => shareOf(rows[i], rows[i][variant], measure) ?? []);
      if (shares.length < asked.length) return [];
      const mean = (part: keyof Share) => shares.reduce((sum, share) => sum + share[part], 0) / shares.length;
      return [{ sum: mean("sum"), weight: mean("weight") }];
    });
  return { base: of("base"), tuned: of("tuned") };
}
