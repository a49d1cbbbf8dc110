/** What an experiment must know of a cell's rows before it begins: how many there are, and whether they are the same. */
import { createHash } from "node:crypto";
import { cleanedRows } from "../data/dataset.ts";
import { chooseFiles } from "./data_files.ts";
import type { TrainSettings } from "./resolve.ts";
import { readingOf } from "./rows.ts";

export interface CellData {
  /** After cleaning. */
  rows: number;
  /** Of the files' bytes, hexadecimal. */
  sha256: string;
}

/** Bytes hashed at a time. */
const chunk = 2 ** 22;

/** Reads each data set once, however many cells learn it. Errors: UserError when it cannot be read. */
export function makeDataReader(): (settings: TrainSettings) => Promise<CellData> {
  const known = new Map<string, Promise<CellData>>();
  return (settings) => {
    const key = JSON.stringify([settings.data, settings.data_format, settings.columns, settings.prompt_style]);
    const found = known.get(key) ?? readCellData(settings);
    known.set(key, found);
    return found;
  };
}

async function readCellData(settings: TrainSettings): Promise<CellData> {
  const { data } = await chooseFiles({ data: settings.data, eval_data: [] });
  const hash = createHash("sha256");
  for (const open of data.open) {
    const source = open();
    try {
      for (let at = 0; at < source.size; at += chunk) hash.update(source.read(at, Math.min(chunk, source.size - at)));
    } finally {
      source.close();
    }
  }
  let rows = 0;
  for await (const _ of cleanedRows(data, { ...readingOf(settings), notes: [] })) rows++;
  return { rows, sha256: hash.digest("hex") };
}
