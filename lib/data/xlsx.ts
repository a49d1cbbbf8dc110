/**
 * Sheets of an Excel workbook (.xlsx, by read-excel-file), one table each; the first row that is not empty names the
 * columns. A workbook is read whole, since it is a zip archive; how much it unpacks to is looked up first.
 */
import { unzipSync } from "fflate";
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { cellText, type Table, type TableRow } from "./tables.ts";

/** Of XML, of which the reader makes several times as much; more rows are better kept as .csv or .parquet. */
const mostBytes = 1 << 28;
/** Excel's own limits. */
const mostRows = 1 << 20, mostColumns = 1 << 14;
/** Cells of all sheets that may stand empty, beside one for each byte of XML; a cell takes some 200 bytes. */
const emptyCells = 1 << 18;
/** The most that deflate packs into a byte. A zip archive says for itself how much an entry unpacks to. */
const mostPacked = 1032;

/** Tables of all sheets that are not empty. Errors: UserError for a damaged file, and one that is too large unpacked. */
export async function readXlsx(source: ByteSource): Promise<Table[]> {
  const { name } = source;
  const bytes = new Uint8Array(source.read(0, source.size));
  const { default: readWorkbook } = await import("read-excel-file/universal");
  let sheets: { sheet: string; data: unknown[][] }[];
  try {
    let unpacked = 0;
    unzipSync(bytes, {
      filter({ name: entry, size, originalSize }) {
        if (originalSize > mostPacked * (Math.min(size, bytes.length) + 1)) {
          throw new Error(`its ${entry} cannot unpack to ${originalSize} bytes`);
        }
        unpacked += originalSize;
        return false;
      },
    });
    if (unpacked > mostBytes) {
      throw new UserError(`${name}: unpacks to ${unpacked} bytes, at most ${mostBytes} are read`, {
        hint: "Save the rows as .csv or .parquet.",
      });
    }
    let empty = emptyCells;
    for (const [entry, xml] of Object.entries(unzipSync(bytes, { filter: ({ name }) => name.endsWith(".xml") }))) {
      empty -= Math.max(
        0,
        cellsOf(new TextDecoder("latin1").decode(xml), { place: `${name}:${entry}`, empty }) - xml.length,
      );
    }
    sheets = await readWorkbook(bytes.buffer);
    const lost = sheets.find(({ data }) => !Array.isArray(data));
    if (lost) throw new Error(`its sheet ${JSON.stringify(lost.sheet ?? "")} is not there`);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${name}: not a readable Excel workbook: ${(error as Error).message.slice(0, 200)}`, {
      hint: "Save it again as .xlsx, without a password, or as .csv.",
      cause: error,
    });
  }
  return sheets.flatMap(({ sheet, data }) => {
    const header = data.findIndex((cells) => cells.some((cell) => cell !== null && cell !== ""));
    if (header < 0) return [];
    const columns = data[header].map((cell) => String(cellText(cell) ?? "").trim());
    async function* rows(): AsyncGenerator<TableRow> {
      for (let i = header + 1; i < data.length; i++) {
        if (data[i].every((cell) => cell === null)) continue;
        yield { place: `${name}:${sheet}!${i + 1}`, cells: data[i].map(cellText) };
      }
    }
    return [{ columns, place: `${name}:${sheet}!${header + 1}`, rows }];
  });
}

/**
 * The reader makes a cell for every place up to the last row and column that a sheet names, so that one cell far away
 * would fill the memory: so many. Errors: UserError for places that no sheet has, and for a sheet with more cells than
 * characters and `empty` ones beside them.
 */
function cellsOf(xml: string, { place, empty }: { place: string; empty: number }): number {
  let rows = 0, columns = 0;
  for (const [, double, single] of xml.matchAll(/\sr\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/g)) {
    const at = double ?? single, [, letters = "", digits] = /^([A-Z]{0,3})(\d{1,7})$/.exec(at) ?? [];
    const column = [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 64, 0);
    if (digits === undefined || Number(digits) > mostRows || column > mostColumns) {
      throw new UserError(`${place}: there is no cell or row ${JSON.stringify(at.slice(0, 40))}`, { hint: saveAgain });
    }
    rows = Math.max(rows, Number(digits));
    columns = Math.max(columns, column);
  }
  if (rows * columns > xml.length + empty) {
    throw new UserError(`${place}: ${rows} rows of ${columns} columns, nearly all of them empty`, { hint: saveAgain });
  }
  return rows * columns;
}

const saveAgain = "Delete what lies far from the table, or save the rows as .csv.";
