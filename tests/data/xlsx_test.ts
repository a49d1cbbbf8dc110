/** What cells of an Excel workbook become, in all the ways in which programs write them. */
import assert from "node:assert/strict";
import { unzipSync, zipSync } from "fflate";
import { readXlsx } from "../../lib/data/xlsx.ts";
import { isDateFormat } from "../../lib/data/xlsx_parts.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { utf8 } from "../helpers/bytes.ts";
import { xlsxOf } from "../helpers/tables.ts";

type Files = Record<string, string>;

/** A workbook of one sheet with these rows of XML behind a header of columns a, b and c, and with other files changed. */
function bookOf(rows: string, change: (files: Files) => void = () => {}): Uint8Array {
  const packed = unzipSync(xlsxOf({ One: [["a", "b", "c"]] }));
  const files: Files = Object.fromEntries(
    Object.entries(packed).map(([name, bytes]) => [name, new TextDecoder().decode(bytes)]),
  );
  files["xl/worksheets/sheet1.xml"] = files["xl/worksheets/sheet1.xml"].replace("</sheetData>", `${rows}</sheetData>`);
  change(files);
  return zipSync(Object.fromEntries(Object.entries(files).map(([name, text]) => [name, utf8(text)])));
}

/** Number of the row, and the cells of columns a, b and c. */
async function rowsOf(book: Uint8Array): Promise<unknown[][]> {
  const [table] = await readXlsx(bytesSource(book, "b.xlsx"));
  assert.deepEqual(table.columns, ["a", "b", "c"]);
  const rows = await Array.fromAsync(table.rows(table.columns));
  return rows.map(({ place, cells }) => [Number(place.slice("b.xlsx:One!".length)), ...[0, 1, 2].map((i) => cells[i])]);
}

const none = undefined;
const shared = (items: string) => (files: Files) => files["xl/sharedStrings.xml"] = `<sst>${items}</sst>`;

Deno.test("texts are shared, in the cell, or a formula's; runs are joined, how they are spoken is left out", async () => {
  const book = bookOf(
    '<row r="2"><c r="A2" t="s"><v>1</v></c><c r="B2" t="s"><v>0</v></c><c r="C2" t="s"><v>2</v></c></row>' +
      '<row r="3"><c r="A3" t="inlineStr"><is><r><t>a </t></r><r><rPr><b/></rPr><t xml:space="preserve">b </t></r></is></c>' +
      '<c r="B3" t="str"><f t="shared" si="0">A1&amp;"x"</f><v>a_x0041__x005F_x0041_&amp;</v></c></row>',
    shared(
      "<si><t>first</t></si><si><r><t>rich </t></r><r><t>text</t></r><rPh sb='0' eb='1'><t>spoken</t></rPh></si>" +
        "<si><t><![CDATA[<c>]]> &#x1F642;&#128578;&#233;</t><phoneticPr/></si>",
    ),
  );
  assert.deepEqual(await rowsOf(book), [[2, "rich text", "first", "<c> 🙂🙂é"], [3, "a b", "aA_x0041_&", none]]);
});

Deno.test("numbers, yes or no and dates are written plainly; errors and space are nothing", async () => {
  const book = bookOf(
    '<row r="2"><c r="A2"><v>1.50</v></c><c r="B2" t="n"><v>1E3</v></c><c r="C2"><f>1/3</f><v>0.1</v></c></row>' +
      '<row r="3"><c r="A3" t="b"><v>1</v></c><c r="B3" t="b"><v>0</v></c><c r="C3" t="e"><v>#N/A</v></c></row>' +
      '<row r="4"><c r="A4" s="1"><v>45418</v></c><c r="B4" s="1"><v>45418.25</v></c><c r="C4" t="d"><v>2024-05-06</v></c></row>' +
      '<row r="5"><c r="A5" t="str"><v> </v></c><c r="B5" t="e"><v>#REF!</v></c><c r="C5" s="1"/></row>',
  );
  assert.deepEqual(await rowsOf(book), [
    [2, "1.5", "1000", "0.1"],
    [3, "true", "false", null],
    [4, "2024-05-06", "2024-05-06T06:00:00Z", "2024-05-06"],
  ]);
});

for (const date1904 of ["1", "true"]) {
  Deno.test(`days are counted from 1904 where a workbook says date1904="${date1904}"`, async () => {
    const book = bookOf('<row r="2"><c r="A2" s="1"><v>43956</v></c></row>', (files) => {
      files["xl/workbook.xml"] = files["xl/workbook.xml"].replace("<sheets>", `<workbookPr date1904="${date1904}"/>$&`);
    });
    assert.deepEqual(await rowsOf(book), [[2, "2024-05-06", none, none]]);
  });
}

Deno.test("rows and cells that do not say where they are follow the one before; those far away cost nothing", async () => {
  const book = bookOf(
    '<row><c><v>1</v></c><c r="C2"><v>3</v></c></row><row r="9"><c/><c><v>2</v></c></row>' +
      '<row><c r="B20"><v>4</v></c></row><row r="1048576"><c r="XFD1048576"><v>5</v></c></row>',
  );
  assert.deepEqual(await rowsOf(book), [
    [2, "1", none, "3"],
    [9, none, "2", none],
    [20, none, "4", none],
    [1048576, none, none, none],
  ]);
});

Deno.test("the strict form, prefixes and other places of the files are read as well", async () => {
  const cell = '<row r="2"><c r="A2" t="s" s="1"><v>0</v></c></row>', texts = shared("<si><t>x</t></si>");
  const strict = bookOf(cell, (files) => {
    texts(files);
    for (const name in files) {
      files[name] = files[name]
        .replaceAll(
          "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
          "http://purl.oclc.org/ooxml/spreadsheetml/main",
        )
        .replaceAll(
          "http://schemas.openxmlformats.org/officeDocument/2006",
          "http://purl.oclc.org/ooxml/officeDocument",
        );
    }
  });
  const prefixed = bookOf(cell, (files) => {
    texts(files);
    for (const name in files) {
      if (!/^xl\/[^_].*xml$/.test(name)) continue;
      files[name] = files[name].replace(/xmlns=/, "xmlns:x=").replace(/<(\/?)(?=[a-z])/gi, "<$1x:");
    }
  });
  const moved = bookOf(cell, (files) => {
    texts(files);
    files["_rels/.rels"] = files["_rels/.rels"].replace("xl/workbook.xml", "/Book/WorkBook.xml");
    files["book/_rels/workbook.xml.rels"] = files["xl/_rels/workbook.xml.rels"].replace(
      "worksheets/",
      "../xl/worksheets/",
    )
      .replace("styles.xml", "/xl/styles.xml");
    files["book/workbook.xml"] = files["xl/workbook.xml"];
    delete files["xl/workbook.xml"];
  });
  for (const book of [strict, prefixed, moved]) assert.deepEqual(await rowsOf(book), [[2, "x", none, none]]);
});

Deno.test("rows can be read twice, and only the columns that are asked for", async () => {
  const [table] = await readXlsx(
    bytesSource(xlsxOf({ One: [["a", "b"], ["1", "2"], [null, "3"], [" ", " "]] }), "b.xlsx"),
  );
  for (let time = 0; time < 2; time++) {
    const rows = await Array.fromAsync(table.rows(["a"]));
    assert.deepEqual(rows.map(({ place, cells }) => [place, cells[0], cells[1]]), [
      ["b.xlsx:One!2", "1", none],
      ["b.xlsx:One!3", none, none],
    ]);
  }
});

Deno.test("formats of dates are told from those of numbers", () => {
  const dates = [
    "d/m/yy",
    "m/d/yy h:mm;@",
    "[h]:mm:ss",
    "mm:ss.0",
    "[$-409]d-mmm-yy;@",
    "h:mm AM/PM",
    "dd\\.mm\\.yyyy",
  ];
  const numbers = [
    "General",
    "0",
    "#,##0.00",
    "0%",
    "0.00E+00",
    "# ?/?",
    '0.0 "m"',
    "[Red]0;[Blue]-0",
    "@",
    '"day"',
    "",
  ];
  for (const code of [...dates, 'yyyy"年"m"月"', "0;d/m"]) assert(isDateFormat(code), code);
  for (const code of numbers) assert(!isDateFormat(code), code);
});
