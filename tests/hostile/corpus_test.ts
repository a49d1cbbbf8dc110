/** Every malformed class for every reader: one line that says what is wrong, in bounded time and memory. */
import assert from "node:assert/strict";
import { zipSync } from "fflate";
import { concat, utf8 } from "../helpers/bytes.ts";
import type { Row } from "./corpus.ts";
import { fileRows } from "./file_corpus.ts";
import { execute } from "./fuzz.ts";
import { type Reader, readers } from "./readers.ts";
import { templateRows } from "./template_corpus.ts";
import { xlsxRows } from "./xlsx_corpus.ts";

const readerOf = (name: string) => readers.find((reader) => reader.name === name)!;

/** Loads what the reader loads on demand, which is not the file's to pay for. */
async function warmUp(reader: Reader): Promise<void> {
  for (const valid of await reader.seeds()) await reader.read(valid);
}

async function check({ reader, bytes, says }: Row): Promise<void> {
  const { answer, message = answer, fault } = await execute(readerOf(reader), bytes());
  assert.equal(fault, undefined);
  assert.match(message, says);
}

for (const { name } of readers) {
  const rows = [...fileRows, ...templateRows, ...xlsxRows].filter(({ reader }) => reader === name);
  if (rows.length === 0) continue;
  Deno.test(`${name}: what is malformed is refused with one line`, async (test) => {
    await warmUp(readerOf(name));
    for (const row of rows) await test.step(row.class, () => check(row));
  });
}

/** What may lie in the place of any file. */
const anything: [what: string, bytes: (valid: Uint8Array) => Uint8Array][] = [
  ["nothing", () => new Uint8Array(0)],
  ["one byte", () => Uint8Array.of(0)],
  ["zeros", () => new Uint8Array(1 << 16)],
  ["ones", () => new Uint8Array(1 << 16).fill(255)],
  ["a page of a proxy", () => utf8("<!DOCTYPE html><html><body>Please log in</body></html>")],
  [
    "an address of large-file storage",
    () => utf8("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
  ],
  ["a zip archive", () => zipSync({ "../../escaped": utf8("x") })],
  ["a program", () => concat([Uint8Array.of(0x7f, 0x45, 0x4c, 0x46), new Uint8Array(500)])],
  ["its first half", (valid) => valid.subarray(0, valid.length / 2)],
  ["itself without its last byte", (valid) => valid.subarray(0, -1)],
  ["itself without its first byte", (valid) => valid.subarray(1)],
  ["itself twice", (valid) => concat([valid, valid])],
  ["itself as UTF-16", (valid) => Uint8Array.from([...valid].flatMap((byte) => [byte, 0]))],
];

Deno.test("every reader reads or refuses what lies in the place of any file", async (test) => {
  const read = async (reader: Reader, [what, bytes]: typeof anything[number]) => {
    const [valid] = await reader.seeds(), { fault } = await execute(reader, bytes(valid));
    assert.equal(fault, undefined, what);
  };
  for (const reader of readers) {
    await test.step(reader.name, async () => {
      await warmUp(reader);
      for (const one of anything) await read(reader, one);
    });
  }
});
