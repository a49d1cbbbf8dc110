/**
 * Data files to examples, in one pass over their rows: read, cleaned, compared, rendered, tokenized, with a note for every
 * row that was changed or left out. Rows are not kept, their tokens are; who needs some rows again reads them again.
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { makeCleaner } from "./clean.ts";
import { type ExampleStore, makeExampleStore } from "./examples.ts";
import { makeNearDuplicates } from "./near_duplicates.ts";
import { type ReadOptions, readRows } from "./read.ts";
import { type RenderOptions, renderRow } from "./render.ts";
import { type CleaningNote, formatOf, type Place, type Row, type RowFormat, textsOf } from "./rows.ts";

/** Files that are one data set, in order. Each is opened when its turn comes, and closed. */
export interface DataFiles {
  /** For messages: the file, or what a person called several. */
  name: string;
  open: (() => ByteSource)[];
}

export interface Dataset {
  format: RowFormat;
  /** What the rows were read as, one text per kind. */
  readAs: string[];
  /** One per row that is left after cleaning, in order; without tokens where it could not be rendered. */
  examples: ExampleStore;
  /** Tokens of the same rows, too long ones included. */
  lengths: number[];
  places: Place[];
  /** Row -> an earlier row that says nearly the same. */
  similar: Map<number, number>;
  /** Rows read, before cleaning. */
  read: number;
  notes: CleaningNote[];
}

export interface LoadOptions {
  files: DataFiles;
  format: ReadOptions["format"];
  columns: ReadOptions["columns"];
  /** How rows of the format found become tokens. */
  rendering: (format: RowFormat) => RenderOptions;
  /** Told after every row. */
  onRow?: (row: Row, index: number) => void;
}

/** Errors: UserError as reading and rendering throw them, and when no row is left. */
export async function loadDataset({ files, rendering, onRow, ...reading }: LoadOptions): Promise<Dataset> {
  const notes: CleaningNote[] = [], readAs = new Set<string>(), said = new Set<string>();
  const examples = makeExampleStore(),
    lengths: number[] = [],
    places: Place[] = [],
    similar = new Map<number, number>();
  const nearDuplicate = makeNearDuplicates();
  let format: RowFormat = "alpaca", options: RenderOptions | undefined, read = 0, usable = 0;
  const counting = { onShape: (name: string) => readAs.add(name), onRead: () => read++ };
  for await (const row of cleanedRows(files, { ...reading, ...counting, notes })) {
    const index = examples.length;
    options ??= rendering(format = formatOf(row));
    const twin = nearDuplicate(textsOf(row).join("\n"));
    if (twin !== undefined) {
      similar.set(index, twin);
      notes.push({ place: row.place, what: `nearly the same as ${places[twin]}`, action: "kept" });
    }
    const rendered = renderRow(row, options);
    for (const note of rendered.notes) {
      if (note.action !== "kept" || !said.has(note.what)) notes.push(note);
      said.add(note.what);
    }
    examples.add(rendered.example ?? { tokens: new Int32Array(0), targets: new Uint8Array(0) });
    if (rendered.example) usable++;
    lengths.push(rendered.length);
    places.push(row.place);
    onRow?.(row, index);
  }
  if (usable === 0) throw unusable(files.name, { read, notes });
  return { format, readAs: [...readAs], examples, lengths, places, similar, read, notes };
}

/** Rows of all files, cleaned, all of one format. The same files and options give the same rows every time. */
export async function* cleanedRows(
  files: DataFiles,
  { notes, format = "auto", onRead, ...options }: ReadOptions & { onRead?: () => void },
): AsyncGenerator<Row> {
  const clean = makeCleaner(notes);
  for (const open of files.open) {
    const source = open();
    try {
      for await (const row of readRows(source, { ...options, notes, format })) {
        onRead?.();
        // All files must be of the first one's form.
        if (format === "auto") format = formatOf(row);
        const cleaned = clean(row);
        if (cleaned) yield cleaned;
      }
    } finally {
      source.close();
    }
  }
}

function unusable(name: string, { read, notes }: { read: number; notes: CleaningNote[] }): UserError {
  const dropped = notes.find(({ action }) => action === "dropped");
  const reason = dropped ? `; the first, ${dropped.place}: ${dropped.what}` : "";
  return new UserError(`${name}: none of the ${read} rows can be trained on${reason}`, {
    hint: dropped?.what.includes("max_length")
      ? "Raise max_length, or shorten the rows."
      : dropped?.what.includes("chat template")
      ? "Use a model whose chat template writes calls of tools."
      : dropped?.what.includes("U+FFFD")
      ? 'Save the file as UTF-8; Excel calls it "CSV UTF-8".'
      : "Each row needs a question and an answer; if they stand in other columns, name those with --columns.",
  });
}
