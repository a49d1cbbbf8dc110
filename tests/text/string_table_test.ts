import assert from "node:assert/strict";
import fc from "fast-check";
import { hashOf, makeStringTable, tableOf, unitReader } from "../../lib/text/string_table.ts";

const unitsOf = unitReader();
const find = (table: ReturnType<typeof tableOf>, text: string) => {
  const codes = unitsOf(text);
  return table.find(codes, 0, text.length, hashOf(codes, 0, text.length));
};

Deno.test("tableOf() numbers strings in their order, and knows no others", () => {
  const texts = fc.array(fc.string({ unit: "binary", maxLength: 6 }), { maxLength: 20 });
  fc.assert(
    fc.property(texts, texts, (known, others) => {
      const strings = [...new Set(known)], table = tableOf(strings);
      for (const text of [...strings, ...others]) assert.equal(find(table, text), strings.indexOf(text));
      assert.equal(table.size, strings.length);
    }),
    { seed: 1 },
  );
});

Deno.test("a table takes no more than it has room for, and is empty when cleared", () => {
  const table = makeStringTable({ strings: 2, characters: 5 });
  const add = (text: string) => table.add(unitsOf(text), 0, text.length, hashOf(unitsOf(text), 0, text.length));
  assert.deepEqual([add("abc"), add("def"), add("de"), add("")], [true, false, true, false]);
  assert.deepEqual(["abc", "def", "de"].map((text) => find(table, text)), [0, -1, 1]);
  table.clear();
  assert.deepEqual([table.size, find(table, "abc"), add("def"), find(table, "def")], [0, -1, true, 0]);
});
