/** What a person reads of a comparison, and the files it leaves beside the log of answers. */
import { join } from "node:path";
import type { CompareResults, ModelGroup, ModelResult } from "../eval/comparison.ts";
import { toCsv } from "../eval/csv.ts";
import type { Measure } from "../eval/results.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { alignedTable, headOf, showEstimate, showValue, titleOf } from "./answer_table.ts";
import { showBytes } from "./terminal.ts";

/** Measures that every model has, also those whose likelihoods nobody knows; and those shown with their interval. */
const shown: Measure[] = ["exact", "accepted", "f1", "rouge_l", "chrf"], bracketed: Measure[] = ["accepted", "f1"];

/** results.json for reports, and tables for spreadsheets: models.csv, scores.csv, answers.csv. */
export function writeComparison(folder: string, results: CompareResults): void {
  const write = (name: string, text: string) => writeTextAtomic(join(folder, name), text);
  const { sets, models } = results;
  write("results.json", JSON.stringify(results, null, 2) + "\n");
  const facts = "name kind answered failed refused first_token_ms tokens_per_second prompt_tokens answer_tokens cost " +
    "parameters bytes";
  write("models.csv", toCsv(facts.split(" "), models.map((model) => ({ ...model }))));
  write(
    "scores.csv",
    toCsv(
      ["model", "set", "role", "measure", "value", "low", "high", "rows"],
      models.flatMap(({ name, scores }) =>
        sets.flatMap((set, s) =>
          shown.flatMap((measure) => {
            const found = scores[s][measure];
            return found ? [{ model: name, set: set.name, role: set.role, measure, ...found }] : [];
          })
        )
      ),
    ),
  );
  const columns = "model set place question reference text finish error exact accepted f1 rouge_l chrf prompt_tokens " +
    "answer_tokens first_token_ms total_ms";
  write(
    "answers.csv",
    toCsv(
      columns.split(" "),
      models.flatMap(({ name, answers }) =>
        answers.map(({ set, row, ...answer }) => ({
          model: name,
          ...sets[set].rows[row],
          ...answer,
          set: sets[set].name,
        }))
      ),
    ),
  );
}

/** A table of scores for each set, then speed, price and size, then why answers are missing. */
export function showComparison({ sets, models }: CompareResults): string {
  const tables = sets.map((set, s) => {
    const table = [
      ["", ...shown.map(titleOf)],
      ...models.map(({ name, scores }) => [
        name,
        ...shown.map((measure) => {
          const found = scores[s][measure];
          if (bracketed.includes(measure) || !found) return showEstimate(found, measure);
          return showValue(found.value, measure);
        }),
      ]),
    ];
    return `${headOf(set)}\n${alignedTable(table, { left: true })}`;
  });
  return [
    "in brackets 95 % intervals over rows (bootstrap)",
    ...tables,
    "speed, price and size (medians; the first token's time includes the way there)\n" +
    alignedTable(factsTable(models)),
    ...models.flatMap(showLeftOut),
    ...models.flatMap(showFailures),
  ].join("\n\n");
}

/** Groups of models with the measure that a right answer is told by, speed and size. */
export function showGroups({ sets }: Pick<CompareResults, "sets">, groups: ModelGroup[]): string {
  const table = [
    [
      "compared, the same questions to each",
      ...sets.map(({ name }) => `${name}: ${titleOf("accepted")}`),
      ...factHeads,
    ],
    ...groups.map(({ label, models, scores, ...facts }) => [
      models === 1 ? label : `${label} (mean of ${models})`,
      ...scores.map(({ accepted }) => showEstimate(accepted, "accepted")),
      ...factsOf(facts),
    ]),
  ];
  return alignedTable(table, { indent: 0, left: true });
}

/** What models cost a person beside mistakes. */
const factHeads = ["first token", "tokens/s", "cost", "size"];

function factsOf(facts: Pick<ModelResult, "first_token_ms" | "tokens_per_second" | "cost" | "bytes">): string[] {
  const or = (value: number | null, show: (value: number) => string) => value === null ? "-" : show(value);
  return [
    or(facts.first_token_ms, (ms) => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`),
    or(facts.tokens_per_second, (speed) => speed.toFixed(speed < 100 ? 1 : 0)),
    or(facts.cost, (cost) => cost.toPrecision(3)),
    or(facts.bytes, showBytes),
  ];
}

function factsTable(models: ModelResult[]): string[][] {
  const count = (value: number | null) => value === null ? "-" : String(value);
  return [
    ["", "answered", "refused", "tokens read", "written", ...factHeads],
    ...models.map((model) => [
      model.name,
      `${model.answered} of ${model.answered + model.failed}`,
      String(model.refused),
      count(model.prompt_tokens),
      count(model.answer_tokens),
      ...factsOf(model),
    ]),
  ];
}

/** What a model was not asked with, so that a reader knows how far it can be compared. */
function showLeftOut({ name, answers }: ModelResult): string[] {
  const fields = new Set(answers.flatMap(({ left_out }) => left_out ?? []));
  return fields.size === 0 ? [] : [`${name}: refuses ${[...fields].join(", ")}, and was asked without`];
}

/** Why answers are missing, each reason once with how often. */
function showFailures({ name, answers }: ModelResult): string[] {
  const reasons = new Map<string, number>();
  for (const { error } of answers) if (error !== undefined) reasons.set(error, (reasons.get(error) ?? 0) + 1);
  return [...reasons].map(([why, times]) => `${name}: ${times} without an answer: ${why}`);
}
