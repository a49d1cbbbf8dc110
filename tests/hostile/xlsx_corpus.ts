/** Malformed Excel workbooks of one class each, made anew by every call: as zip archives, as XML, as sheets. */
import { zipSync } from "fflate";
import { le, utf8 } from "../helpers/bytes.ts";
import { xlsxOf } from "../helpers/tables.ts";
import type { Row } from "./corpus.ts";
import { unzipped } from "./row_seeds.ts";

type Case = [what: string, bytes: () => Uint8Array, says: RegExp];

const read = /^read$/;
const sheet = "xl/worksheets/sheet1.xml", relations = "xl/_rels/workbook.xml.rels";
const goodRow = '<row r="2"><c r="A2" t="str"><v>Q</v></c><c r="B2" t="str"><v>A</v></c></row>';

const archives: Case[] = [
  [
    "a size of 3 GB unpacked",
    () => listed((file, at) => file.set(le(3e9, 4), at + 24)),
    /cannot unpack to 3\d{9} bytes/,
  ],
  ["a size of 100 MB", () => listed((file, at) => file.set(le(1e8, 4), at + 24)), /cannot unpack to 1\d{8} bytes/],
  ["24 MB of empty cells", () => sheetWith(`<row>${"<c/>".repeat(6e6)}</row>`), /cannot unpack to 24\d{6} bytes/],
  [
    "a sheet longer than it says",
    () => listed((file, at) => file[at + 24]--),
    /sheet1\.xml does not unpack to the \d+ byt/,
  ],
  ["a wrong checksum", () => listed((file, at) => file[at + 16] ^= 1), /the checksum of xl\/worksheets\/sheet1\.xml/],
  ["an encrypted sheet", () => listed((file, at) => file[at + 8] |= 1), /sheet1\.xml has a password/],
  ["a sheet packed by LZMA", () => listed((file, at) => file[at + 10] = 14), /by an unknown method, 14/],
  ["a sheet beyond the end", () => listed((file, at) => file.set(le(1e6, 4), at + 42)), /unexpected EOF/],
  [
    "a workbook of Excel 97, or with a password",
    () => new Uint8Array(4096).fill(0xd0).map((byte, i) => [0xd0, 0xcf, 0x11, 0xe0][i] ?? byte),
    /an \.xls file, or has a password/,
  ],
  ["no workbook in the archive", () => zipSync({ "../../etc/x.xml": utf8("<a/>") }), /not a readable Excel workbook/],
  ["another kind of archive", () => zipSync({ "a.xml": utf8("<a/>") }), /there is no workbook in it/],
];

const sheets: Case[] = [
  [
    "a sheet that is not there",
    () => changed(relations, (text) => text.replace("rId1", "rId9")),
    /sheet "One" is not th/,
  ],
  [
    "two sheets in one place",
    () => changed(relations, (text) => text.replace("sheet2.xml", "sheet1.xml")),
    /two of its sheets are one/,
  ],
  [
    "a sheet's name of several lines",
    () => changed("xl/workbook.xml", (text) => text.replace('"One"', '"&#10;&#27;One"'), ["x"]),
    /^rows\.xlsx: {3}One!1: no column is known|^rows\.xlsx: {2}One!1: no column is known/,
  ],
  ["a row of 10^19", () => sheetWith('<row r="9223372036854775807"/>'), /no cell or row "9223372036854775807"/],
  ["a row 0", () => sheetWith('<row r="0"/>'), /no cell or row "0"/],
  ["more rows than there are", () => sheetWith("<row/>".repeat(11e5)), /no cell or row "1048577"/],
  ["a row behind the one after it", () => sheetWith(goodRow + goodRow), /One!2: it stands behind/],
  [
    "one cell in the last row and column",
    () => sheetWith(`${goodRow}<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>`),
    read,
  ],
  ["a column without end", () => sheetWith('<row r="2"><c r="ZZZZZZ2"/></row>'), /no cell or row "ZZZZZZ2"/],
  ["a column that there is not", () => sheetWith('<row r="2"><c r="XFE2"/></row>'), /no cell or row "XFE2"/],
  ["a cell written with entities", () => sheetWith('<row r="2"><c r="&#90;ZZ2"/></row>'), /no cell or row "ZZZ2"/],
  ["more cells than there are", () => sheetWith(`<row>${"<c/>".repeat(2e4)}</row>`), /no cell or row "16385"/],
  ["a cell behind the one after it", () => sheetWith('<row><c r="B2"/><c r="A2"/></row>'), /One!A2: it stands behind/],
  ["a text that there is not", () => cellWith('t="s"', "7"), /One!2: a cell names text "7" of 0/],
  ["a style that there is not", () => cellWith('s="7"', "7"), /One!2: a cell has style "7" of 2/],
  ["a number that is none", () => cellWith("", "seven"), /One!2: a cell should be a number and is "seven"/],
  ["a date that is none", () => cellWith('t="d"', "seven"), /One!2: a cell should be a date and is "seven"/],
  ["a yes or no that is neither", () => cellWith('t="b"', "7"), /One!2: a cell should be 1 or 0 and is "7"/],
  ["a cell of an unknown type", () => cellWith('t="x"', "7"), /One!2: a cell is of an unknown type, "x"/],
];

const texts: Case[] = [
  ["a cell of 2 MB", () => cellWith('t="str"', "x".repeat(2e6)), /more than 1048576 characters without a tag/],
  [
    "a cell of 2 MB in runs",
    () => sheetWith(`<row><c t="inlineStr"><is>${"<r><t>xxxx</t></r>".repeat(5e5)}</is></c></row>`),
    /a text of more than 1048576 characters/,
  ],
  [
    "a row of 17 MB",
    () => sheetWith(`<row>${`<c t="str"><v>${"x".repeat(1e6)}</v></c>`.repeat(17)}</row>`),
    /row 2 has more than 16777216 characters/,
  ],
  ["elements without end", () => sheetWith("<a>".repeat(1e6)), /more than 100 elements inside each other/],
  ["an attribute without end", () => sheetWith(`<row r="${">".repeat(2e6)}`), /more than 1048576 characters without/],
  ["a comment without end", () => sheetWith(`<!--${"<".repeat(2e6)}`), /more than 1048576 characters without/],
  ["XML that is cut short", () => changed(sheet, (text) => text.slice(0, -9)), /unexpected end of file|unclosed/],
  [
    "entities that multiply",
    () => changed(sheet, (text) => `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>${text}`),
    /./,
  ],
];

export const xlsxRows: Row[] = [...archives, ...sheets, ...texts].map(([what, bytes, says]) => ({
  ...{ reader: "rows.xlsx", class: what, says, bytes },
}));

/** A workbook of two sheets with one of its files changed. */
function changed(path: string, change: (text: string) => string, header = ["instruction", "output"]): Uint8Array {
  const files = unzipped(xlsxOf({ One: [header], Two: [["x"]] }));
  files[path] = utf8(change(new TextDecoder().decode(files[path])));
  return zipSync(files);
}

/** A workbook whose first sheet has these rows behind its header. */
function sheetWith(rows: string): Uint8Array {
  return changed(sheet, (text) => text.replace("</sheetData>", () => `${rows}</sheetData>`));
}

function cellWith(attributes: string, value: string): Uint8Array {
  return sheetWith(`<row r="2"><c r="A2" ${attributes}><v>${value}</v></c></row>`);
}

/** A workbook whose archive lists its first sheet in another way; `at` is where the list describes that file. */
function listed(change: (file: Uint8Array, at: number) => unknown): Uint8Array {
  const file = sheetWith(goodRow), view = new DataView(file.buffer, file.byteOffset);
  const name = new TextDecoder("latin1").decode(file).lastIndexOf(sheet), at = name - 46;
  if (view.getUint32(at, true) !== 0x02014b50) throw new Error("no entry of a zip archive's list");
  change(file, at);
  return file;
}
