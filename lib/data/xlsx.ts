/**
 * Sheets of an Excel workbook (.xlsx, by read-excel-file), one table each; the first row that is not empty names the
 * columns. A workbook is read whole, since it is a zip archive; how much it unpacks to is looked up first.
 */
import { unzipSync } from "fflate";
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { cellText, type Table, type TableRow } from "./tables.ts";

const mostBytes = 1 << 29;

/** Tables of all sheets that are not empty. Errors: UserError for a damaged file, and one that is too large unpacked. */
export async function readXlsx(source: ByteSource): Promise<Table[]> {
  const { name } = source;
  const bytes = new Uint8Array(source.read(0, source.size));
  const { default: readWorkbook } = await import("read-excel-file/universal");
  let sheets: { sheet: string; data: unknown[][] }[];
  try {
    let unpacked = 0;
    unzipSync(bytes, {
      filter({ originalSize }) {
        unpacked += originalSize;
        return false;
      },
    });
    if (unpacked > mostBytes) {
      throw new UserError(`${name}: unpacks to ${unpacked} bytes, at most ${mostBytes} are read`, {
        hint: "Save the rows as .csv or .parquet.",
      });
    }
    sheets = await readWorkbook(bytes.buffer);
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
