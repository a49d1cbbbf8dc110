/**
 * What a comparison of models found, as `ftl compare` writes it to results.json and a report reads it: plain JSON, every
 * number unrounded, shares from 0 to 1, times in milliseconds. `format` changes when a field changes its meaning.
 */
import { estimateMean, quantile } from "./bootstrap.ts";
import type { SetRole } from "./questions.ts";
import { measures, type RowAnswer, type RowResult, type Scores } from "./results.ts";
import { summarize } from "./summary.ts";

export interface CompareResults {
  format: "ftl-compare/1";
  version: string;
  /** ISO 8601, when these files were written. */
  created: string;
  /** False where answers are missing, whether it was stopped or they failed. */
  complete: boolean;
  settings: { max_new_tokens: number; temperature: number; limit: number; seed: number };
  sets: { name: string; role: SetRole; source: string; rows: Pick<RowResult, "place" | "question" | "reference">[] }[];
  models: ModelResult[];
}

export interface ModelResult extends ModelFacts {
  answered: number;
  /** Questions without an answer, and of those answered how many were refused. */
  failed: number;
  refused: number;
  /** Medians over the answers; null without any, or where the server does not count tokens. */
  first_token_ms: number | null;
  tokens_per_second: number | null;
  /** Sums; null where the server does not count them. */
  prompt_tokens: number | null;
  answer_tokens: number | null;
  /** Of all answers, by the price given, in its currency; null without one. */
  cost: number | null;
  /** By the sets' places in `sets`; text measures only, since others' likelihoods are not to be had. */
  scores: Scores[];
  answers: ComparedAnswer[];
}

export interface ModelFacts {
  /** As it was named. */
  name: string;
  kind: "local" | "remote";
  /** Of a local model and its adapter; null where nobody says. */
  parameters: number | null;
  bytes: number | null;
  /** Of a million tokens read and written, as the user gave it. */
  price: { input: number; output: number } | null;
}

/** What a model gave when it was asked. */
export interface GivenAnswer {
  /** Missing where `error` says why. */
  text?: string;
  finish?: "stop" | "length" | "refused";
  prompt_tokens?: number | null;
  answer_tokens?: number | null;
  first_token_ms?: number;
  total_ms?: number;
  /** Settings that the model does not take, so that it was asked without them: max_tokens, temperature, seed. */
  left_out?: string[];
  error?: string;
}

export interface ComparedAnswer extends GivenAnswer, Pick<RowAnswer, "exact" | "accepted" | "f1" | "rouge_l" | "chrf"> {
  /** Place of the set in `sets`, of the row in its `rows`. */
  set: number;
  row: number;
}

/** Sums, medians and scores of a model's answers to `sets` sets. */
export function summarizeModel(
  facts: ModelFacts,
  answers: ComparedAnswer[],
  { sets, seed }: { sets: number; seed: number },
): ModelResult {
  const given = answers.filter(({ text }) => text !== undefined);
  const prompt_tokens = sumOf(given.map((answer) => answer.prompt_tokens));
  const answer_tokens = sumOf(given.map((answer) => answer.answer_tokens));
  const { price } = facts;
  return {
    ...facts,
    answered: given.length,
    failed: answers.length - given.length,
    refused: given.filter(({ finish }) => finish === "refused").length,
    first_token_ms: median(given.flatMap(({ first_token_ms }) => first_token_ms ?? [])),
    tokens_per_second: median(given.flatMap((answer) => speedOf(answer) ?? [])),
    prompt_tokens,
    answer_tokens,
    cost: price === null || prompt_tokens === null || answer_tokens === null
      ? null
      : (prompt_tokens * price.input + answer_tokens * price.output) / 1e6,
    scores: Array.from({ length: sets }, (_, set) => {
      const rows = given.filter((answer) => answer.set === set)
        .map((answer) => ({ place: "", question: "", reference: "", base: answer as RowAnswer }));
      return summarize(rows, { seed }).base ?? {};
    }),
    answers,
  };
}

/** Tokens after the first one by the time they took. */
function speedOf({ answer_tokens, first_token_ms, total_ms }: ComparedAnswer): number | undefined {
  if (!answer_tokens || answer_tokens < 2 || first_token_ms === undefined || total_ms === undefined) return undefined;
  return total_ms > first_token_ms ? (answer_tokens - 1) / (total_ms - first_token_ms) * 1000 : undefined;
}

function sumOf(counts: (number | null | undefined)[]): number | null {
  let sum = 0;
  for (const count of counts) {
    if (count === null || count === undefined) return null;
    sum += count;
  }
  return counts.length === 0 ? null : sum;
}

function median(values: number[]): number | null {
  return values.length === 0 ? null : quantile(values.toSorted((a, b) => a - b), 0.5);
}

/** Models that are one to a reader, such as the seeds of a training: their means. */
export interface ModelGroup {
  label: string;
  /** How many models it is of. */
  models: number;
  /** By the sets' places: each question's score is its mean over the models, the interval is over questions. */
  scores: Scores[];
  /** Means over the models of their own medians, sums and sizes; null where one of them has none. */
  first_token_ms: number | null;
  tokens_per_second: number | null;
  cost: number | null;
  bytes: number | null;
}

/** `groups`: the names of each; those that the comparison does not have are left out, and groups without any. */
export function groupModels(
  { models, sets }: CompareResults,
  groups: { label: string; names: string[] }[],
  { seed }: { seed: number },
): ModelGroup[] {
  return groups.flatMap(({ label, names }) => {
    const found = models.filter(({ name, answered }) => names.includes(name) && answered > 0);
    if (found.length === 0) return [];
    const mean = (of: "first_token_ms" | "tokens_per_second" | "cost" | "bytes") => {
      const values = found.map((model) => model[of]);
      return values.includes(null) ? null : values.reduce((sum: number, value) => sum + value!, 0) / values.length;
    };
    return [{
      label,
      models: found.length,
      scores: sets.map(({ rows }, s) =>
        scoresOf(found.map(({ answers }) => answers.filter(({ set }) => set === s)), { rows: rows.length, seed })
      ),
      first_token_ms: mean("first_token_ms"),
      tokens_per_second: mean("tokens_per_second"),
      cost: mean("cost"),
      bytes: mean("bytes"),
    }];
  });
}

/** Of the questions that every model has answered. */
function scoresOf(answers: ComparedAnswer[][], { rows, seed }: { rows: number; seed: number }): Scores {
  const scores: Scores = {};
  for (const { key } of measures) {
    const shares = Array.from({ length: rows }, (_, row) => {
      const values = answers.flatMap((all) => valueOf(all.find((answer) => answer.row === row), key) ?? []);
      return { sum: values.reduce((sum, value) => sum + value, 0), weight: values.length };
    }).filter(({ weight }) => weight === answers.length);
    const estimate = estimateMean(shares.map(({ sum, weight }) => ({ sum: sum / weight, weight: 1 })), { seed });
    if (estimate) scores[key] = estimate;
  }
  return scores;
}

/** Text measures only: a comparison knows no likelihoods. */
function valueOf(answer: ComparedAnswer | undefined, key: string): number | undefined {
  return answer?.[key as "exact"];
}
