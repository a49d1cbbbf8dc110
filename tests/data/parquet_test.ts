/** Parquet files that other programs wrote (golden/parquet/make_parquet.py), and sizes that a file cannot have. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { readParquet } from "../../lib/data/parquet.ts";
import { checkLists } from "../../lib/data/parquet_lists.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";

const folder = new URL("../golden/parquet/", import.meta.url);

const expected = Array.from({ length: 300 }, (_, i): Record<string, unknown> => ({
  instruction: i % 7 === 0 ? null : `question ${i % 50}`,
  output: `answer ${i} ${"é".repeat(i % 5)}`,
  input: null,
  messages: i % 11 === 0
    ? null
    : [{ role: "user", content: `hi ${i}` }, { role: "assistant", content: null }].slice(0, i % 3),
}));

for (const { name } of Deno.readDirSync(folder)) {
  if (!name.endsWith(".parquet")) continue;
  Deno.test(`${name}: nulls, empty columns and nested lists come back as they were written`, async () => {
    const { columns, rows } = await readParquet(bytesSource(Deno.readFileSync(new URL(name, folder)), name));
    const read: Record<string, unknown>[] = [];
    for await (const { cells } of rows(columns)) {
      read.push(Object.fromEntries(columns.map((column, i) => [column, cells[i] ?? null])));
    }
    assert.deepEqual(read, expected.map((row) => Object.fromEntries(columns.map((column) => [column, row[column]]))));
  });
}

Deno.test("rows after a row group without any are said to stand in the second", async () => {
  const name = "pyarrow_empty_group.parquet";
  const { columns, rows } = await readParquet(bytesSource(Deno.readFileSync(new URL(name, folder)), name));
  for await (const { place } of rows(columns)) {
    assert.equal(place, `${name}:row 1 in group 2`);
    break;
  }
});

Deno.test("a list longer than what is left of the description is refused before an array is made for it", () => {
  const list = (...count: number[]) => Uint8Array.of(0x19, 0xf5, ...count, 2, 4, 6, 0);
  assert.doesNotThrow(() => checkLists(list(3)));
  assert.throws(() => checkLists(list(0xff, 0xff, 0xff, 0x0f)), /list of 33554431 elements at byte 2/);
  assert.throws(() => checkLists(list(3).subarray(0, 2)), /ends too early/);
  assert.throws(() => checkLists(new Uint8Array(100_000).fill(0x1c)), /nested more than 64 deep/);
});

Deno.test("a row group of millions of rows in a small file is refused", async () => {
  const bytes = Deno.readFileSync(new URL("pyarrow_delta.parquet", folder));
  // The last 300 in its description, a zigzag varint, becomes 2^21.
  const from = [0xd8, 0x04], to = [0x80, 0x80, 0x80, 0x02];
  const at = bytes.findLastIndex((byte, i) => byte === from[0] && bytes[i + 1] === from[1]);
  const large = Uint8Array.from([...bytes.subarray(0, at), ...to, ...bytes.subarray(at + 2)]);
  const length = new DataView(large.buffer), place = large.length - 8;
  length.setUint32(place, length.getUint32(place, true) + 2, true);
  await assert.rejects(
    readParquet(bytesSource(large, "t.parquet")),
    (error) => error instanceof UserError && /row group 1 says it has 2097152 rows/.test(error.message),
  );
});
