/**
 * From the data files of a run to examples: read, cleaned, split, rendered and tokenized, with a note for every row that
 * was changed or left out.
 */
import { UserError } from "../errors.ts";
import { cleanRows } from "../data/clean.ts";
import { splitHeldOut } from "../data/order.ts";
import type { AlpacaStyle } from "../data/prompt.ts";
import { readRows } from "../data/read.ts";
import { type Example, renderRows } from "../data/render.ts";
import type { CleaningNote, Row, RowFormat } from "../data/rows.ts";
import { openFile } from "../files/file_source.ts";
import { kindOfPath } from "../model/model_files.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { TrainSettings } from "./resolve.ts";
import { samples } from "./samples.ts";

/** How rows become text, once the rows are known. */
export type PromptStyle = AlpacaStyle | "chat";

export interface TrainingRows {
  style: PromptStyle;
  train: Row[];
  /** Rows to evaluate on, never trained. */
  held: Row[];
  examples: Example[];
  heldExamples: Example[];
  notes: CleaningNote[];
}

/** Throws UserError when a file cannot be read, or no row of it can be used. */
export function prepareRows(settings: TrainSettings, tokenizer: Tokenizer): TrainingRows {
  const asChat = settings.prompt_style === "chat";
  const read = (path: string, expected?: RowFormat) => {
    const format = expected ?? (asChat ? "chat" : settings.data_format);
    const found = readRows(readData(path), { source: path, format });
    const cleaned = cleanRows(found.rows, { source: path });
    return { rows: cleaned.rows, format: found.format, notes: [...found.notes, ...cleaned.notes] };
  };
  const data = read(settings.data);
  const style = styleFor(data.format, settings);
  const notes = data.notes;
  let train = data.rows, held: Row[] = [];
  if (settings.eval_data !== null) {
    const evaluation = read(settings.eval_data, data.format);
    held = evaluation.rows;
    notes.push(...evaluation.notes);
  } else if (settings.eval_split > 0) {
    const split = splitHeldOut(data.rows, { fraction: settings.eval_split, seed: settings.seed });
    [train, held] = [split.train, split.heldOut];
  }
  const render = (rows: Row[], source: string) => {
    if (rows.length === 0) return [];
    const rendered = renderRows(rows, {
      tokenizer,
      source,
      style: style === "chat" ? undefined : style,
      responseOnly: settings.train_on_responses_only,
      maxLength: settings.max_length,
    });
    notes.push(...rendered.notes);
    return rendered.examples;
  };
  const examples = render(train, settings.data);
  const heldExamples = render(held, settings.eval_data ?? settings.data);
  return { style, train, held, examples, heldExamples, notes };
}

/** Conversations have one form, whatever style a preset names for Alpaca rows. */
function styleFor(format: RowFormat, { prompt_style }: TrainSettings): PromptStyle {
  if (format === "chat") return "chat";
  return prompt_style === "auto" || prompt_style === "chat" ? "alpaca" : prompt_style;
}

/** A data file's content; a sample's when there is no such file here. */
export function readData(path: string): Uint8Array | string {
  try {
    const file = openFile(path);
    try {
      return file.read(0, file.size);
    } finally {
      file.close();
    }
  } catch (error) {
    if (error instanceof UserError && Object.hasOwn(samples, path) && kindOfPath(path) !== "file") return samples[path];
    throw error;
  }
}

/** One line: where, what, what was done. */
export function showNote({ source, line, what, action }: CleaningNote): string {
  return `${source}:${line}: ${what}; ${action}`;
}

/** At most `most` lines of notes, the rest counted. */
export function showNotes(notes: CleaningNote[], most = 5): string[] {
  const lines = notes.slice(0, most).map(showNote);
  return notes.length > most ? [...lines, `... and ${notes.length - most} more, all in notes.txt`] : lines;
}
