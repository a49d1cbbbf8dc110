/** Tables of `ftl eval` and `ftl compare` for a terminal: aligned columns, and answers beneath their question. */
import type { Estimate } from "../eval/bootstrap.ts";
import { type QuestionSet, roleTitles } from "../eval/questions.ts";
import { type Measure, measures } from "../eval/results.ts";
import { displayWidth, terminalWidth, wrap } from "./terminal.ts";

/** Rows of cells in columns: the first one to the left, the others to the right unless `left` says otherwise. */
export function alignedTable(rows: string[][], { indent = 2, left = false } = {}): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, c) => Math.max(...rows.map((row) => displayWidth(row[c] ?? ""))));
  return rows.map((row) => {
    const cells = widths.map((width, c) => {
      const cell = row[c] ?? "", space = " ".repeat(width - displayWidth(cell));
      return c === 0 || left ? cell + space : space + cell;
    });
    return " ".repeat(indent) + cells.join("  ").trimEnd();
  }).join("\n");
}

export interface ShownAnswer {
  /** "reference", or the model's name. */
  who: string;
  text: string;
  /** What was measured of it. */
  marks?: string[];
}

/** Lines of one text that are shown. */
const mostLines = 6;

/** A question and, beneath it, the reference and every answer, wrapped beside who said it. */
export function showQuestion(question: string, answers: ShownAnswer[]): string {
  const width = terminalWidth(), margin = Math.min(28, Math.max(...answers.map(({ who }) => displayWidth(who))) + 4);
  const lines = answers.flatMap(({ who, text, marks = [] }) => {
    const body = wrap(text, width - margin).filter((line) => line !== "");
    const shown = body.length > mostLines ? [...body.slice(0, mostLines), "..."] : body.length === 0 ? ["-"] : body;
    const name = wrap(who, margin - 3)[0] ?? "";
    if (marks.length > 0) shown.push(`(${marks.join(", ")})`);
    return shown.map((line, i) => `  ${i === 0 ? name : ""}`.padEnd(margin) + line);
  });
  return [...wrap(question, width), ...lines].join("\n");
}

/** What stands above the table of a set of questions. */
export function headOf({ name, role, source, rows }: Pick<QuestionSet, "name" | "role" | "source"> & {
  rows: unknown[];
}): string {
  const title = role === "given" ? name : roleTitles[role];
  return `${title} (${source}, ${rows.length} ${rows.length === 1 ? "row" : "rows"})`;
}

/** 3.842, or 25.0 for a share of 0.25. */
export function showValue(value: number, measure: Measure): string {
  if (isPercent(measure)) return (100 * value).toFixed(1);
  return Math.abs(value) >= 1000 ? value.toPrecision(3) : value.toFixed(value < 100 ? 3 : 1);
}

/** "25.0 (6.3 to 50.0)", a change with its sign. */
export function showEstimate(estimate: Estimate | undefined, measure: Measure, { signed = false } = {}): string {
  if (!estimate) return "-";
  const one = (value: number) => (signed && value > 0 ? "+" : "") + showValue(value, measure);
  const { value, low, high } = estimate;
  return low === null || high === null ? one(value) : `${one(value)} (${one(low)} to ${one(high)})`;
}

export function isPercent(measure: Measure): boolean {
  return measures.find(({ key }) => key === measure)!.percent;
}

/** "token F1 %", "loss" */
export function titleOf(measure: Measure): string {
  return measures.find(({ key }) => key === measure)!.title + (isPercent(measure) ? " %" : "");
}
