/**
 * Rows from the text of a jsonl or json file: Alpaca rows or conversations, recognised by their keys.
 *
 * Reading only: what is *in* the rows is judged by clean.ts. Bytes are checked for UTF-8 line by line, so that one broken
 * line costs one row and is named. CSV and other forms are refused with a hint.
 */
import { UserError } from "../errors.ts";
import { splitElements, splitLines } from "./json_lines.ts";
import { readRow } from "./row_shapes.ts";
import { type CleaningNote, isChat, type Row, type RowFormat } from "./rows.ts";

export interface ReadOptions {
  /** Name of the file, for messages. */
  source: string;
  /** "auto" (default) takes the first row's form for all. "chat" also turns Alpaca rows into conversations. */
  format?: "auto" | RowFormat;
  /** Leave broken lines out with a note, instead of failing at the first. */
  skipBroken?: boolean;
}

/**
 * All rows of a file's content, in order.
 * Errors: UserError naming file and line when there are no rows, a line is not JSON, a row has no known form or fields of
 * wrong types, or the file mixes forms.
 */
export function readRows(
  content: string | Uint8Array,
  options: ReadOptions,
): { rows: Row[]; format: RowFormat; notes: CleaningNote[] } {
  const { source, skipBroken = false } = options;
  const wanted = options.format ?? "auto";
  const notes: CleaningNote[] = [];
  const rows: Row[] = [];
  let format: RowFormat | undefined = wanted === "auto" ? undefined : wanted;
  const lines = splitLines(content, { source, notes });
  const first = lines.find((line) => line.text.trim() !== "");
  if (first === undefined) throw emptyError(source, notes);
  refuseOtherForms(first.text, source);
  const entries = first.text.trimStart().startsWith("[") ? splitElements(lines, source) : lines;
  for (const { text, line } of entries) {
    if (text.trim() === "") continue;
    try {
      const row = readRow(parse(text), { line, asChat: wanted === "chat" });
      const found: RowFormat = isChat(row) ? "chat" : "alpaca";
      format ??= found;
      if (found !== format) {
        throw new Broken(`a ${found} row, expected ${format} rows`, "Split the file by form of rows.");
      }
      rows.push(row);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (!skipBroken) throw brokenError(error, { source, line });
      notes.push({ source, line, what: error.message, action: "dropped" });
    }
  }
  if (rows.length === 0) throw emptyError(source, notes);
  return { rows, format: format!, notes };
}

/** A row that cannot be used, with its own advice. */
class Broken extends Error {
  constructor(message: string, readonly hint: string) {
    super(message);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Broken(
      `not valid JSON: ${(error as Error).message.replace(/\s+/g, " ").slice(0, 200)}`,
      "Each line must be one whole JSON object. Correct the line, or let broken lines be skipped.",
    );
  }
}

function brokenError(error: Error, where: { source: string; line: number }): UserError {
  const hint = (error as { hint?: string }).hint ?? "Correct the row, or let broken lines be skipped.";
  return new UserError(`${where.source}:${where.line}: ${error.message}`, { hint, cause: error });
}

function emptyError(source: string, notes: CleaningNote[]): UserError {
  if (notes.length === 0) {
    return new UserError(`${source}: no rows`, {
      hint: 'Write one JSON object per line, for example {"instruction": "...", "input": "", "output": "..."}.',
    });
  }
  const { line, what } = notes[0];
  return new UserError(`${source}: no usable rows; the first of ${notes.length} broken lines, ${line}: ${what}`, {
    hint: "Save the file as UTF-8 jsonl, one JSON object per line.",
  });
}

/** CSV, XML, a GGUF file by mistake: told apart by how the content begins. */
function refuseOtherForms(text: string, source: string): void {
  const start = text.trimStart();
  if (start.startsWith("{") || start.startsWith("[")) return;
  const shown = JSON.stringify(start.slice(0, 40));
  const looksLikeCsv = /\.(csv|tsv)$/i.test(source) || /^[^{}]*[,;\t][^{}]*$/.test(start);
  throw new UserError(`${source}: neither jsonl nor json: it begins with ${shown}`, {
    hint: looksLikeCsv
      ? "This looks like CSV; convert it to jsonl, one JSON object per line."
      : 'Write one JSON object per line, for example {"instruction": "...", "input": "", "output": "..."}.',
  });
}
