/**
 * Rows of a CSV or TSV file, streamed (parsed by csv-parse). The first line names the columns. The separator is found in
 * that line: a comma, a semicolon as in spreadsheets of many countries, or a tab.
 */
import { type CsvError, parse } from "csv-parse";
import { Readable } from "node:stream";
import { UserError } from "../errors.ts";
import type { CleaningNote } from "./rows.ts";
import { longestPiece, peek } from "./text_stream.ts";
import type { Table, TableRow } from "./tables.ts";

/** A record with the line on which it ends. */
interface Parsed {
  cells: string[];
  end: number;
}

/**
 * The columns, and rows to be read once. Rows with fewer cells than columns are filled up, rows with more left out, each
 * with a note. Errors: UserError with the line where a quote is not closed, or a record is too long.
 */
export async function readCsv(
  texts: AsyncGenerator<string>,
  { name, notes }: { name: string; notes: CleaningNote[] },
): Promise<Table> {
  const { beginning, texts: all } = await peek(texts);
  // Excel's own first line, "sep=;".
  const told = /^\ufeff?sep=(.)\r?\n/i.exec(beginning)?.[1];
  const records = recordsOf(all, { name, delimiter: told ?? delimiterOf(beginning) });
  if (told !== undefined) await records.next();
  const header = await records.next();
  const columns = header.done ? [] : header.value.cells.map((cell) => cell.trim());
  async function* rows(): AsyncGenerator<TableRow> {
    for await (const { cells, end } of records) {
      const place = `${name}:${end - cells.reduce((sum, cell) => sum + countLines(cell), 0)}`;
      if (cells.length > columns.length) {
        notes.push({ place, what: `${cells.length} cells, the header names ${columns.length}`, action: "dropped" });
        continue;
      }
      if (cells.length < columns.length) {
        const what = `${cells.length} cells, the header names ${columns.length}`;
        notes.push({ place, what, action: "read with empty cells" });
      }
      yield { place, cells };
    }
  }
  return { columns, place: `${name}:${told === undefined ? 1 : 2}`, rows };
}

async function* recordsOf(
  texts: AsyncIterable<string>,
  { name, delimiter }: { name: string; delimiter: string },
): AsyncGenerator<Parsed> {
  let end = 0;
  const parser = Readable.from(texts).pipe(parse({
    delimiter,
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    record_delimiter: ["\n", "\r\n", "\r"],
    max_record_size: longestPiece,
    // The line goes along as a last cell.
    on_record: (cells, { lines }) => [...cells, String(end = lines)],
  }));
  try {
    for await (const cells of parser as AsyncIterable<string[]>) yield { end: Number(cells.pop()), cells };
  } catch (error) {
    throw error instanceof UserError ? error : csvError(error as CsvError, { name, line: end + 1 });
  }
}

function csvError(error: CsvError, { name, line }: { name: string; line: number }): UserError {
  const [what, hint] = error.code === "CSV_QUOTE_NOT_CLOSED"
    ? ["a quote that is opened here, or later, is never closed", 'Close it, or write a quote inside a cell twice: "".']
    : error.code === "CSV_MAX_RECORD_SIZE"
    ? [
      `a record of more than ${longestPiece} characters; a quote may not be closed`,
      'Close it, or write a quote inside a cell twice: "".',
    ]
    : [error.message.replace(/\s+/g, " ").slice(0, 200), "Correct the line."];
  return new UserError(`${name}:${line}: ${what}`, { hint, cause: error });
}

/** The separator that occurs most in the first line, outside quotes. */
function delimiterOf(text: string): string {
  const line = text.slice(0, 65536).replace(/"[^"]*"/g, "").split(/\r?\n/, 1)[0];
  const count = (delimiter: string) => line.split(delimiter).length;
  return [",", ";", "\t"].reduce((best, next) => count(next) > count(best) ? next : best);
}

function countLines(cell: string): number {
  let lines = 0;
  for (let at = cell.indexOf("\n"); at >= 0; at = cell.indexOf("\n", at + 1)) lines++;
  return lines;
}
