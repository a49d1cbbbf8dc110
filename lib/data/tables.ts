/** What a table is, whatever file it came from: names of columns, and rows of cells that are read as objects. */
import type { Place } from "./rows.ts";

export interface Table {
  columns: string[];
  /** Where the columns are named. */
  place: Place;
  /** The rows, to be read once. `wanted` are the columns that matter; others may be left undefined. */
  rows(wanted: string[]): AsyncIterable<TableRow>;
}

export interface TableRow {
  place: Place;
  /** In the order of the columns; missing ones are empty. */
  cells: unknown[];
}

/** Numbers, dates and yes or no as text, as they would stand in a CSV file; lists and objects as they are. */
export function cellText(cell: unknown): unknown {
  if (cell instanceof Date) {
    const text = Number.isNaN(cell.getTime()) ? "" : cell.toISOString();
    return text.replace(/T00:00:00\.000Z$/, "").replace(/\.000Z$/, "Z");
  }
  if (typeof cell === "number" || typeof cell === "boolean" || typeof cell === "bigint") return String(cell);
  return cell;
}
