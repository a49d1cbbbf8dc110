/** CSV, Excel and Parquet: what a table's cells become, where rows stand, and one clear line for each kind of damage. */
import assert from "node:assert/strict";
import { zipSync } from "fflate";
import { parquetWriteBuffer } from "hyparquet-writer";
import { UserError } from "../../lib/errors.ts";
import { type Cells, csvOf, parquetOf, readAll, xlsxOf } from "../helpers/tables.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const alpaca = (place: string, instruction: string, output: string, input = "") => ({
  place,
  instruction,
  input,
  output,
});
const table: Cells = [["instruction", "output"], ["Q1", "A1"], ["Q2", 'A\n"2", yes'], ["Q3", "A3"]];
const read = (places: string[]) => [
  alpaca(places[0], "Q1", "A1"),
  alpaca(places[1], "Q2", 'A\n"2", yes'),
  alpaca(places[2], "Q3", "A3"),
];

for (const [name, delimiter, end] of [["commas", ",", "\n"], ["semicolons", ";", "\r\n"], ["tabs", "\t", "\n"]]) {
  Deno.test(`a CSV file with ${name} has the line on which each row begins`, async () => {
    const { rows, notes } = await readAll(csvOf(table, { delimiter, end }), { source: "t.csv" });
    assert.deepEqual(rows, read(["t.csv:2", "t.csv:3", "t.csv:5"]));
    assert.deepEqual(notes, []);
  });
}

Deno.test("a CSV file may have a mark, UTF-16, empty lines, quotes inside cells, and no last line end", async () => {
  const text = '\ufeffinstruction,output\n\nWhat is 5" long?,A "disk".\n';
  const utf16 = new Uint8Array(Uint16Array.from(text, (c) => c.charCodeAt(0)).buffer);
  for (const content of [encode(text), utf16, encode(text.trimEnd())]) {
    const { rows } = await readAll(content, { source: "t.csv" });
    assert.deepEqual(rows, [alpaca("t.csv:3", 'What is 5" long?', 'A "disk".')]);
  }
});

Deno.test("a CSV file may begin with the line in which Excel names the separator", async () => {
  const { rows } = await readAll(encode("\ufeffsep=|\r\nQ, A;question|answer\r\n,,|A1\r\n"), {
    source: "t.csv",
    columns: { instruction: "Q, A;question", output: "answer" },
  });
  assert.deepEqual(rows, [alpaca("t.csv:3", ",,", "A1")]);
});

Deno.test("a CSV row with too many cells is left out, one with too few is filled up, each with a note", async () => {
  const { rows, notes } = await readAll(encode("output,instruction\na,b,c\nd\ne,f\n"), { source: "t.csv" });
  assert.deepEqual(rows, [alpaca("t.csv:3", "", "d"), alpaca("t.csv:4", "f", "e")]);
  assert.deepEqual(notes.map(({ place, what, action }) => `${place}: ${what}; ${action}`), [
    "t.csv:2: 3 cells, the header names 2; dropped",
    "t.csv:3: 1 cells, the header names 2; read with empty cells",
  ]);
});

Deno.test("an Excel workbook gives sheet and row of each row; numbers, dates and yes or no are text", async () => {
  const cells: Cells = [[], ["question", "answer"], ["a", 1.5], [null, null], ["b", new Date("2024-05-06")], [
    "c",
    true,
  ]];
  const { rows, notes } = await readAll(xlsxOf({ Notes: [["made by", "me"]], "Sheet 1": cells }), { source: "b.xlsx" });
  assert.deepEqual(rows, [
    alpaca("b.xlsx:Sheet 1!3", "a", "1.5"),
    alpaca("b.xlsx:Sheet 1!5", "b", "2024-05-06"),
    alpaca("b.xlsx:Sheet 1!6", "c", "true"),
  ]);
  assert.deepEqual(notes.map(({ place, action }) => [place, action]), [["b.xlsx:Notes!1", "left out"]]);
});

Deno.test("a Parquet file gives row and row group of each row, and reads no other columns", async () => {
  const wide = table.map((row, i) => [...row, i === 0 ? "id" : `${i}`]);
  const { rows } = await readAll(parquetOf(wide, { rowGroupSize: 2 }), { source: "t.parquet" });
  assert.deepEqual(
    rows,
    read(["row 1 in group 1", "row 2 in group 1", "row 3 in group 2"].map((row) => `t.parquet:${row}`)),
  );
});

Deno.test("a Parquet file's nested columns are conversations", async () => {
  const messages = [{ role: "user", content: "Q" }, { role: "assistant", content: "A" }];
  const file = parquetWriteBuffer({ columnData: [{ name: "messages", data: [messages, messages], type: "JSON" }] });
  const { rows } = await readAll(new Uint8Array(file), { source: "t.parquet" });
  assert.deepEqual(rows.map((row) => "messages" in row && row.messages), [messages, messages]);
});

const refused: [name: string, source: string, content: Uint8Array, message: RegExp, hint: RegExp][] = [
  [
    "a quote that is never closed",
    "t.csv",
    encode('instruction,output\na,b\nc,"d\ne,f\n'),
    /^t\.csv:3: a quote .* is never closed$/,
    /Close it/,
  ],
  [
    "a CSV file with unknown columns",
    "t.csv",
    encode("foo,bar\n1,2\n"),
    /^t\.csv:1: no column is known .* the columns are foo, bar$/,
    /--columns/,
  ],
  [
    "a CSV file with a header only",
    "t.csv",
    encode("instruction,output\n"),
    /^t\.csv: no rows$/,
    /names of the columns/,
  ],
  ["an empty CSV file", "t.csv", encode(""), /^t\.csv: no rows$/, /./],
  [
    "binary data as CSV",
    "t.csv",
    Uint8Array.from({ length: 99 }, (_, i) => i),
    /^t\.csv: binary data, not text: byte 0/,
    /\.csv/,
  ],
  ["a workbook without rows", "b.xlsx", xlsxOf({ Sheet1: [] }), /^b\.xlsx: no rows$/, /./],
  [
    "a workbook with unknown columns",
    "b.xlsx",
    xlsxOf({ One: [["x", "y"], [1, 2]] }),
    /^b\.xlsx:One!1: no column is known/,
    /--columns/,
  ],
  [
    "a workbook cut short",
    "b.xlsx",
    xlsxOf({ One: table }).subarray(0, 900),
    /^b\.xlsx: not a readable Excel workbook/,
    /Save it/,
  ],
  ["text named as a workbook", "b.xlsx", encode("hello"), /^b\.xlsx: not a readable Excel workbook/, /Save it/],
  [
    "a Parquet file cut short",
    "t.parquet",
    parquetOf(table).subarray(0, 99),
    /^t\.parquet: damaged or unknown Parquet data/,
    /again/,
  ],
  ["an empty Parquet file", "t.parquet", new Uint8Array(0), /^t\.parquet: no rows$/, /names of the columns/],
  ["a Word document", "t.docx", zipSync({ "word/document.xml": encode("<x/>") }), /^t\.docx: this is a Word/, /\.csv/],
  ["an archive", "t.zip", zipSync({ "t.csv": encode("a,b\n") }), /^t\.zip: this is a zip archive/, /Unpack/],
];
for (const [name, source, content, message, hint] of refused) {
  Deno.test(`${name} is refused with one clear line`, async () => {
    await assert.rejects(() => readAll(content, { source }), (error: unknown) => {
      assert(error instanceof UserError, String(error));
      assert.match(error.message, message);
      assert(!error.message.includes("\n"));
      assert.match(error.hint ?? "", hint);
      return true;
    });
  });
}
