/**
 * Sheets of an Excel workbook (.xlsx), one table each, streamed; the first row that is not empty names the columns. Of a
 * workbook no more is held than the texts that its cells share, packed about as tightly as in the file.
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { cellText, type Table, type TableRow } from "./tables.ts";
import { cellValue, type SheetCell, type SheetRow, sheetRows } from "./xlsx_cells.ts";
import { openWorkbook, type Workbook } from "./xlsx_parts.ts";

/** Tables of all sheets that are not empty. Errors: UserError for a damaged file, from its rows as well. */
export async function readXlsx(source: ByteSource): Promise<Table[]> {
  const { name } = source, tables: Table[] = [];
  try {
    const workbook = await openWorkbook(source);
    for (const { name: sheet, entry } of workbook.sheets) {
      const place = `${name}:${sheet}`;
      const table = await tableOf(() => sheetRows(entry, place), { place, workbook, name });
      if (table) tables.push(table);
    }
  } catch (error) {
    throw damaged(error, name);
  }
  return tables;
}

/** Undefined for a sheet with nothing in it. Each reading of the rows begins at the top of the sheet. */
async function tableOf(
  read: () => AsyncIterable<SheetRow>,
  { place, workbook, name }: { place: string; workbook: Workbook; name: string },
): Promise<Table | undefined> {
  const placeOf = (row: SheetRow) => `${place}!${row.number}`;
  const valueOf = (cell: SheetCell, row: SheetRow) => cellText(cellValue(cell, workbook, placeOf(row)));
  const header = await firstRow(read(), (row) => row.cells.some((cell) => valueOf(cell, row) !== null));
  if (!header) return undefined;
  const columns = Array<string>(header.cells.at(-1)!.column + 1).fill("");
  for (const cell of header.cells) columns[cell.column] = String(valueOf(cell, header) ?? "").trim();
  async function* rows(wanted: string[]): AsyncGenerator<TableRow> {
    const used = new Set(wanted.map((column) => columns.indexOf(column)));
    try {
      for await (const row of read()) {
        if (row.number <= header!.number) continue;
        const cells: unknown[] = [];
        for (const cell of row.cells) if (used.has(cell.column)) cells[cell.column] = valueOf(cell, row);
        // A row with something in another column is a row, whose cells are empty.
        const filled = cells.some((value) => value !== null && value !== undefined) ||
          row.cells.some((cell) => valueOf(cell, row) !== null);
        if (filled) yield { place: placeOf(row), cells };
      }
    } catch (error) {
      throw damaged(error, name);
    }
  }
  return { columns, place: placeOf(header), rows };
}

async function firstRow(rows: AsyncIterable<SheetRow>, matches: (row: SheetRow) => boolean) {
  for await (const row of rows) if (matches(row)) return row;
}

/** Anything that goes wrong inside the reader means a damaged file. */
function damaged(error: unknown, name: string): UserError {
  if (error instanceof UserError) return error;
  const what = (error as Error).message.replace(/\p{Cc}/gu, " ").slice(0, 200);
  return new UserError(`${name}: not a readable Excel workbook: ${what}`, {
    hint: "Save it again as .xlsx, without a password, or as .csv.",
    cause: error,
  });
}
