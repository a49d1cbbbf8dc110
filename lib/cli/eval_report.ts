/** What a person reads of an evaluation, and the files it is written to. */
import { UserError } from "../errors.ts";
import { toCsv } from "../eval/csv.ts";
import { type EvalResults, type Measure, measures, type RowResult, type SetResult } from "../eval/results.ts";
import { requireWritable, writeTextAtomic } from "../files/atomic.ts";
import {
  alignedTable,
  headOf,
  showEstimate,
  type ShownAnswer,
  showQuestion,
  showValue,
  titleOf,
} from "./answer_table.ts";

/** Before anything is computed. Errors: UserError for a file that cannot be written, and another ending than these two. */
export function checkOut(path: string): void {
  if (!/\.(json|csv)$/i.test(path)) {
    throw new UserError(`--output-file ${path}: expected a name that ends in .json or .csv`, { exitCode: 2 });
  }
  requireWritable(path);
}

export function writeEval(path: string, results: EvalResults): void {
  const text = /\.csv$/i.test(path) ? answersCsv(results) : JSON.stringify(results, null, 2) + "\n";
  writeTextAtomic(path, text);
}

const answerColumns =
  "text finish tokens loss loss_tokens exact accepted f1 rouge_l chrf choice choice_for_length judged" +
  " judge_said";

/** A line for every answer. */
function answersCsv({ sets }: EvalResults): string {
  const columns = [
    "set",
    "role",
    "place",
    "question",
    "reference",
    "right_choice",
    "model",
    ...answerColumns.split(" "),
  ];
  return toCsv(
    columns,
    sets.flatMap(({ name, role, rows }) =>
      rows.flatMap(({ place, question, reference, right_choice, ...row }) =>
        (["base", "tuned"] as const).flatMap((model) =>
          row[model] ? [{ set: name, role, place, question, reference, right_choice, model, ...row[model] }] : []
        )
      )
    ),
  );
}

/** Questions whose answers are shown. */
const mostShown = 200;

/** Every answer beside its reference, then a table for each set, then what it comes to. */
export function showEval(results: EvalResults): string {
  const { sets, complete, model, judge } = results;
  const rows = sets.flatMap((set) => set.rows.filter(({ base, tuned }) => (base?.text ?? tuned?.text) !== undefined));
  const answers = rows.slice(0, mostShown).map(showRow);
  if (rows.length > mostShown) {
    answers.push(`... and ${rows.length - mostShown} more, all with --output-file results.json`);
  }
  const missing = sets.flatMap((set) => set.rows).length - rows.length;
  const tuned = model.adapter === null ? "" : `, tuned by ${model.adapter}`;
  return [
    ...answers,
    ...judge ? [`The judge, ${judge.model}, was asked:\n\n${judge.prompt.replace(/^/gm, "  ")}`] : [],
    `${model.name}${tuned}; prompt style ${model.prompt_style}; in brackets 95 % intervals over rows (bootstrap)`,
    ...sets.map(showSet),
    ...complete ? [] : [`stopped early: ${missing} questions are without an answer`],
    showFindings(results),
  ].filter((part) => part !== "").join("\n\n");
}

function showRow({ question, reference, base, tuned, ...row }: RowResult): string {
  const answers: ShownAnswer[] = [{ who: "reference", text: reference }];
  for (const [who, answer] of [["base", base], ["tuned", tuned]] as const) {
    if (answer?.text === undefined) continue;
    const cut = answer.finish === "length" ? " [cut]" : "";
    const marks = [`F1 ${showValue(answer.f1!, "f1")}`];
    if (answer.accepted) marks.push("holds the answer");
    if (answer.choice !== undefined) marks.push(answer.choice === row.right_choice ? "right choice" : "wrong choice");
    if (answer.judged !== undefined && answer.judged !== null) {
      marks.push(answer.judged ? "judged right" : "judged wrong");
    }
    answers.push({ who, text: answer.text + cut, marks });
  }
  return showQuestion(question, answers);
}

function showSet(set: SetResult): string {
  const { scores } = set;
  const found = measures.filter(({ key }) => scores.base?.[key] ?? scores.tuned?.[key]);
  const columns = scores.tuned ? ["base", "tuned", "change"] as const : ["base"] as const;
  const table = [
    ["", ...columns],
    ...found.map(({ key }) => [
      titleOf(key),
      ...columns.map((column) => {
        if (column === "change" && key === "perplexity") return "";
        return showEstimate(scores[column]?.[key], key, { signed: column === "change" });
      }),
    ]),
  ];
  return `${headOf(set)}\n${alignedTable(table, { left: true })}`;
}

const findings: Partial<Record<SetResult["role"], string>> = {
  trained: "memorised",
  unseen: "learned",
  untaught: "untaught",
  control: "forgotten",
};

/** A line for each set that says something of the training: the measure that suits it, before and after. */
function showFindings({ sets }: EvalResults): string {
  const lines = sets.flatMap(({ role, scores: { base, tuned, change }, rows }) => {
    const word = findings[role];
    if (word === undefined || !base || !tuned || !change) return [];
    // Rows with choices come with short phrases that a right answer holds; whole references are hardly ever repeated.
    const key: Measure = role !== "trained" && rows.some(({ choices }) => choices) ? "accepted" : "f1";
    const [b, t, c] = [base[key], tuned[key], change[key]];
    if (!b || !t || !c) return [];
    const sure = c.low !== null && c.high !== null && (c.low > 0 || c.high < 0);
    return [[
      word,
      titleOf(key),
      `${showValue(b.value, key)} -> ${showValue(t.value, key)}`,
      showEstimate(c, key, { signed: true }),
      sure ? "" : "no clear change",
    ]];
  });
  return lines.length === 0 ? "" : alignedTable(lines, { indent: 0, left: true });
}
