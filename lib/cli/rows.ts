/**
 * From the data settings of a run to examples: read, cleaned, split, rendered and tokenized, with a note for every row
 * that was changed or left out. `ftl train` and `ftl data` both come through here, so that one shows what the other does.
 */
import { parseColumns } from "../data/column_names.ts";
import { cleanedRows, type DataFiles, type Dataset, loadDataset } from "../data/dataset.ts";
import { type Examples, packExamples, selectExamples } from "../data/examples.ts";
import { splitHeldOut } from "../data/order.ts";
import type { AlpacaStyle } from "../data/prompt.ts";
import type { ReadOptions } from "../data/read.ts";
import type { RenderOptions } from "../data/render.ts";
import { type AnsweredRow, type CleaningNote, isText, type Row, type RowFormat } from "../data/rows.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ChosenFiles } from "./data_files.ts";
import { progressBar } from "./progress.ts";
import type { TrainSettings } from "./resolve.ts";

/** How rows become text, once the rows are known. */
export type PromptStyle = AlpacaStyle | "chat";

/** The settings that data depend on. */
export type DataSettings = Pick<
  TrainSettings,
  | "data"
  | "data_format"
  | "columns"
  | "eval_data"
  | "eval_split"
  | "prompt_style"
  | "max_length"
  | "train_on_responses_only"
  | "seed"
>;

export interface TrainingRows {
  files: DataFiles;
  dataset: Dataset;
  /** null for documents, which have no question. */
  style: PromptStyle | null;
  /** Rows of the data set on either side of the split, too long ones included. */
  train: number[];
  held: number[];
  examples: Examples;
  /** Examples to evaluate on, never trained. */
  heldExamples: Examples;
  /** The first rows to ask about: held out ones, where there are any. */
  questions: AnsweredRow[];
  notes: CleaningNote[];
}

/** Rows whose questions may be asked. */
const mostQuestions = 100;

/** Errors: UserError when a file cannot be read, or no row of it can be used. */
export async function prepareRows(
  settings: DataSettings,
  files: ChosenFiles,
  tokenizer: Tokenizer,
): Promise<TrainingRows> {
  const { format, columns } = readingOf(settings);
  const load = async (files: DataFiles, format: ReadOptions["format"]) => {
    const first: AnsweredRow[] = [];
    const onRow = (row: Row) => {
      // Documents hold no question.
      if (first.length < mostQuestions && !isText(row)) first.push(row);
    };
    const rendering = (found: RowFormat) => renderingOf(found, settings, tokenizer);
    const dataset = await withProgress(files, (files) => loadDataset({ files, format, columns, rendering, onRow }));
    return { dataset, first, all: dataset.lengths.map((_, i) => i) };
  };
  const { dataset, first, all } = await load(files.data, format);
  const finish = (set: Dataset, rows: number[]) => {
    const usable = selectExamples(set.examples, rows.filter((row) => set.examples.lengthAt(row) > 0));
    return set.format === "text" ? packExamples(usable, settings.max_length) : usable;
  };
  const style = styleFor(dataset.format, settings);
  const notes = [...files.notes, ...dataset.notes];
  const whole = { files: files.data, dataset, style, notes, train: all, held: [], examples: finish(dataset, all) };
  if (files.evaluation) {
    const evaluation = await load(files.evaluation, dataset.format);
    const heldExamples = finish(evaluation.dataset, evaluation.all);
    return { ...whole, notes: [...notes, ...evaluation.dataset.notes], heldExamples, questions: evaluation.first };
  }
  if (settings.eval_split > 0) {
    const { eval_split: fraction, seed } = settings;
    const { train, heldOut } = splitHeldOut({ rows: all.length, fraction, seed, similar: dataset.similar });
    const questions = dataset.format === "text"
      ? []
      : await rowsAt(heldOut.slice(0, mostQuestions), files.data, settings);
    const examples = finish(dataset, train), heldExamples = finish(dataset, heldOut);
    return { ...whole, train, held: heldOut, examples, heldExamples, questions };
  }
  return { ...whole, heldExamples: selectExamples(dataset.examples, []), questions: first };
}

/** How the settings say that rows are read. */
export function readingOf(
  { prompt_style, data_format, columns }: Pick<DataSettings, "prompt_style" | "data_format" | "columns">,
) {
  return {
    format: prompt_style === "chat" ? "chat" as const : data_format,
    columns: columns === null ? null : parseColumns(columns),
  };
}

/** Some cleaned rows, by ascending number, read again. */
async function rowsAt(indices: number[], files: DataFiles, settings: DataSettings): Promise<AnsweredRow[]> {
  const rows: AnsweredRow[] = [];
  let index = 0;
  for await (const row of cleanedRows(files, { ...readingOf(settings), notes: [] })) {
    if (index++ === indices[rows.length] && !isText(row)) rows.push(row);
    if (rows.length === indices.length) break;
  }
  return rows;
}

function renderingOf(format: RowFormat, settings: DataSettings, tokenizer: Tokenizer): RenderOptions {
  const style = styleFor(format, settings);
  return {
    tokenizer,
    style: style === "chat" || style === null ? undefined : style,
    responseOnly: settings.train_on_responses_only,
    maxLength: settings.max_length,
  };
}

/** Conversations have one form, whatever style a preset names for Alpaca rows; documents have none. */
function styleFor(format: RowFormat, { prompt_style }: DataSettings): PromptStyle | null {
  if (format === "text") return null;
  if (format === "chat") return "chat";
  return prompt_style === "auto" || prompt_style === "chat" ? "alpaca" : prompt_style;
}

/** The same files, telling how much of them has been read. */
async function withProgress<T>(files: DataFiles, work: (files: DataFiles) => Promise<T>): Promise<T> {
  const bar = progressBar();
  const open = files.open.map((opener, i) => () => {
    const source = opener();
    return {
      ...source,
      read(offset: number, length: number) {
        bar.show("reading rows", (i + offset / source.size) / files.open.length, files.name);
        return source.read(offset, length);
      },
    };
  });
  try {
    return await work({ ...files, open });
  } finally {
    bar.end();
  }
}

/** One line: where, what, what was done. */
export function showNote({ place, what, action }: CleaningNote): string {
  return `${place}: ${what}; ${action}`;
}

/** At most `most` lines of notes, the rest counted; `where` says where all of them are. */
export function showNotes(notes: CleaningNote[], { most = 5, where }: { most?: number; where: string }): string[] {
  const lines = notes.slice(0, most).map(showNote);
  return notes.length > most ? [...lines, `... and ${notes.length - most} more, all in ${where}`] : lines;
}
