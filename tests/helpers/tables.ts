/** Tables as files of every kind, written by other means than the readers': CSV by hand, Parquet by hyparquet-writer, Excel as zipped XML. */
import { zipSync } from "fflate";
import { parquetWriteBuffer } from "hyparquet-writer";
import { type ReadOptions, readRows } from "../../lib/data/read.ts";
import type { CleaningNote, Row } from "../../lib/data/rows.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";

export type Cell = string | number | boolean | Date | null;
/** Names, then rows. */
export type Cells = Cell[][];

const encode = (text: string) => new TextEncoder().encode(text);

/** Every cell in quotes. */
export function csvOf(cells: Cells, { delimiter = ",", end = "\r\n" } = {}): Uint8Array {
  const quote = (cell: Cell) => `"${String(cell ?? "").replaceAll('"', '""')}"`;
  return encode(cells.map((row) => row.map(quote).join(delimiter) + end).join(""));
}

/** One text column per name. */
export function parquetOf(
  [names, ...rows]: Cells,
  options: { codec?: "SNAPPY" | "UNCOMPRESSED"; rowGroupSize?: number } = {},
) {
  const columnData = names.map((name, i) => ({
    name: String(name),
    data: rows.map((row) => row[i]),
    type: "STRING" as const,
  }));
  return new Uint8Array(parquetWriteBuffer({ columnData, ...options }));
}

/**
 * A workbook with these sheets; texts stand in the cells themselves, or in a list that cells share, dates are numbers with
 * a date's format. `level` is how well it is packed, 0 not at all.
 */
export function xlsxOf(sheets: Record<string, Cells>, { level = 6 as 0 | 6, shared = false } = {}): Uint8Array {
  const names = Object.keys(sheets), texts = shared ? new Map<string, number>() : undefined;
  const list = (write: (name: string, i: number) => string) => names.map(write).join("");
  const main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
  const office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
  const packages = "http://schemas.openxmlformats.org/package/2006";
  const sheetType = "application/vnd.openxmlformats-officedocument.spreadsheetml";
  const files: Record<string, string> = {
    "[Content_Types].xml":
      `<Types xmlns="${packages}/content-types"><Default Extension="xml" ContentType="application/xml"/>` +
      `<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
      `<Override PartName="/xl/workbook.xml" ContentType="${sheetType}.sheet.main+xml"/></Types>`,
    "_rels/.rels":
      `<Relationships xmlns="${packages}/relationships"><Relationship Id="rId1" Type="${office}/officeDocument" ` +
      `Target="xl/workbook.xml"/></Relationships>`,
    "xl/workbook.xml": `<workbook xmlns="${main}" xmlns:r="${office}"><sheets>` +
      list((name, i) => `<sheet name="${xml(name)}" sheetId="${i + 1}" r:id="rId${i + 1}"/>`) + `</sheets></workbook>`,
    "xl/_rels/workbook.xml.rels": `<Relationships xmlns="${packages}/relationships">` +
      list((_, i) =>
        `<Relationship Id="rId${i + 1}" Type="${office}/worksheet" Target="worksheets/sheet${i + 1}.xml"/>`
      ) +
      `<Relationship Id="rIdS" Type="${office}/styles" Target="styles.xml"/></Relationships>`,
    "xl/styles.xml":
      `<styleSheet xmlns="${main}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>`,
  };
  names.forEach((name, i) => {
    const rows = sheets[name].map((row, r) =>
      `<row r="${r + 1}">${row.map((cell, c) => cellXml(cell, { column: c, row: r, texts })).join("")}</row>`
    );
    files[`xl/worksheets/sheet${i + 1}.xml`] = `<worksheet xmlns="${main}"><sheetData>${
      rows.join("")
    }</sheetData></worksheet>`;
  });
  if (texts) {
    const items = [...texts.keys()].map((text) => `<si><t xml:space="preserve">${xml(text)}</t></si>`);
    files["xl/sharedStrings.xml"] = `<sst xmlns="${main}">${items.join("")}</sst>`;
  }
  return zipSync(Object.fromEntries(Object.entries(files).map(([name, text]) => [name, encode(text)])), { level });
}

/** With `texts`, a text is numbered there. */
function cellXml(
  cell: Cell,
  { column, row, texts }: { column: number; row: number; texts?: Map<string, number> },
): string {
  const at = `r="${String.fromCharCode(65 + column)}${row + 1}"`;
  if (cell === null) return "";
  if (typeof cell === "number") return `<c ${at}><v>${cell}</v></c>`;
  if (typeof cell === "boolean") return `<c ${at} t="b"><v>${Number(cell)}</v></c>`;
  // Days since the last of 1899.
  if (cell instanceof Date) return `<c ${at} s="1"><v>${cell.getTime() / 86_400_000 + 25_569}</v></c>`;
  if (texts) {
    if (!texts.has(cell)) texts.set(cell, texts.size);
    return `<c ${at} t="s"><v>${texts.get(cell)}</v></c>`;
  }
  return `<c ${at} t="inlineStr"><is><t xml:space="preserve">${xml(cell)}</t></is></c>`;
}

function xml(text: string): string {
  return text.replace(/[&<>"\r\n\t]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** All rows of a file of this content. */
export async function readAll(
  content: Uint8Array,
  { source, ...options }: Partial<ReadOptions> & { source: string },
): Promise<{ rows: Row[]; notes: CleaningNote[] }> {
  const notes: CleaningNote[] = [];
  const rows = await Array.fromAsync(readRows(bytesSource(content, source), { notes, ...options }));
  return { rows, notes };
}
