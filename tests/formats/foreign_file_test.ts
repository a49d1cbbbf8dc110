import assert from "node:assert/strict";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { foreignFile } from "../../lib/formats/foreign_file.ts";

/** A file that begins so; each character is a byte. */
const told = (beginning: string) =>
  foreignFile(bytesSource(Uint8Array.from(beginning, (sign) => sign.charCodeAt(0)), "x"))?.what;

const zip = (name: string) => `PK\x03\x04${"\0".repeat(26)}${name}`;
const kinds: [beginning: string, what: RegExp][] = [
  ["version https://git-lfs.github.com/spec/v1\noid", /Git LFS pointer/],
  ["\n<!DOCTYPE html><html>", /web page/],
  ["GGUF\x03\0\0\0", /GGUF/],
  ["tjgg\x03\0\0\0", /before GGUF/],
  ["%PDF-1.7\n", /PDF/],
  ["\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", /old Office/],
  [zip("archive/data.pkl"), /PyTorch/],
  [zip("[Content_Types].xml") + zip("word/document.xml"), /Word/],
  [zip("mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), /OpenDocument/],
  [zip("rows.csv"), /zip archive/],
  ["\x80\x02}q\0.", /pickle/],
  ["\x89PNG\r\n", /picture/],
  ["7z\xbc\xaf\x27\x1c", /archive/],
];
for (const [beginning, what] of kinds) {
  Deno.test(`foreignFile() knows ${JSON.stringify(beginning.slice(0, 12))}`, () => {
    assert.match(told(beginning) ?? "nothing", what);
    assert.match(told(beginning + "\xff".repeat(9000)) ?? "nothing", what);
  });
}

Deno.test("foreignFile() leaves what is read, and texts that begin alike", () => {
  const workbook = zip("[Content_Types].xml") + zip("xl/workbook.xml");
  const others = [
    "",
    "P",
    "PAR1",
    "GGUF is a format.",
    "version 2",
    "{}",
    "<p>",
    "BZh is a name",
    workbook,
    zip("xl/a"),
    "\x80\x02\0\0\0\0\0\0{",
  ];
  for (const text of others) assert.equal(told(text), undefined, text);
});
