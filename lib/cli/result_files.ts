/**
 * Reads the files of results that a report is made of, each of which an earlier command wrote and anybody may have changed
 * since: eval.json, and results.json of an experiment or a comparison. What the report uses of them is checked here, with
 * the place of the first field that is wrong; names of cells are names of folders below, and nothing else.
 */
import { z } from "zod";
import { UserError } from "../errors.ts";
import type { CompareResults } from "../eval/comparison.ts";
import type { ExperimentResults } from "../eval/experiment.ts";
import type { EvalResults } from "../eval/results.ts";
import { readJson } from "../model/model_files.ts";

const number = z.number().nullable(); // JSON has no infinity: a perplexity may be null.
const scores = z.partialRecord(
  z.string(),
  z.looseObject({ value: number, low: number, high: number, rows: z.number() }),
);
const set = { name: z.string(), role: z.string(), scores: z.partialRecord(z.string(), scores) };
const row = { question: z.string(), reference: z.string() };
const answer = z.looseObject({ text: z.string().optional(), finish: z.string().optional() });

const evaluation = z.looseObject({
  format: z.literal("ftl-eval/1"),
  complete: z.boolean(),
  model: z.looseObject({ name: z.string(), parameters: z.number(), engine: z.string(), prompt_style: z.string() }),
  settings: z.looseObject({ limit: z.number() }),
  sets: z.array(z.looseObject({
    ...set,
    rows: z.array(z.looseObject({ ...row, base: answer.optional(), tuned: answer.optional() })),
  })),
});

const folderName = z.string().regex(/^[\w-][\w.+-]*$/, "expected the name of a folder");
const spread = z.looseObject({ mean: number, low: number, high: number, seeds: z.number() });

const experiment = z.looseObject({
  format: z.literal("ftl-experiment/1"),
  name: z.string(),
  settings: z.record(z.string(), z.unknown()),
  cells: z.array(z.looseObject({
    name: folderName,
    status: z.enum(["done", "failed", "unfinished"]),
    error: z.string().optional(),
    ...{ train_seconds: number, eval_seconds: number, energy_joules: number },
  })),
  groups: z.array(z.looseObject({
    ...{ label: z.string(), rows: z.number(), cells: z.array(folderName), final_loss: spread.nullable() },
    sets: z.array(z.looseObject(set)),
  })),
});

const comparison = z.looseObject({
  format: z.literal("ftl-compare/1"),
  complete: z.boolean(),
  sets: z.array(z.looseObject({ name: z.string(), role: z.string(), rows: z.array(z.looseObject(row)) })),
  models: z.array(z.looseObject({
    name: z.string(),
    scores: z.array(scores),
    answers: z.array(
      z.looseObject({ ...answer.shape, set: z.number(), row: z.number(), error: z.string().optional() }),
    ),
  })),
});

/** What ftl eval wrote. */
export const readEvalFile = (path: string) => read(path, evaluation) as EvalResults;

/** What ftl compare wrote. */
export const readComparisonFile = (path: string) => read(path, comparison) as CompareResults;

/** What ftl experiment or ftl compare wrote. */
export function readResultsFile(path: string): ExperimentResults | CompareResults {
  return read(path, z.discriminatedUnion("format", [experiment, comparison])) as ExperimentResults | CompareResults;
}

/** Errors: UserError that names the first field that is wrong. */
function read(path: string, schema: z.ZodType): unknown {
  const result = schema.safeParse(readJson(path));
  if (result.success) return result.data;
  const { path: field, message } = result.error.issues[0];
  throw new UserError(
    `Cannot read ${path}: ${field.map(String).join(".") || "it"} is not as ftl writes it: ${message}`,
    {
      hint: "Write it again: ftl eval RUN --output-file FILE, ftl experiment, or ftl compare.",
    },
  );
}
