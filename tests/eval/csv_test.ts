/** Tables as other programs read them. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import fc from "fast-check";
import { toCsv } from "../../lib/eval/csv.ts";

Deno.test("toCsv() is read back by csv-parse, whatever the texts hold", () => {
  // No text that a spreadsheet takes for a formula, those are changed on purpose.
  const marks = fc.string({ unit: fc.constantFrom(..."\n\r\",;\t '=a\0\u2028") });
  const text = fc.oneof(fc.string({ unit: "grapheme" }), marks).filter((value) => !/^[=+\-@\t\r\ufeff]/.test(value));
  fc.assert(
    fc.property(
      fc.array(fc.record({ a: text, b: text }, { noNullPrototype: true }), { minLength: 1, maxLength: 5 }),
      (records) => {
        const read = parse(toCsv(["a", "b"], records), {
          columns: true,
          record_delimiter: "\r\n",
          skip_empty_lines: false,
        });
        assert.deepEqual(read.map((row) => ({ ...row as object })), records);
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("toCsv() leaves out what is missing, keeps numbers whole, and defuses formulas", () => {
  const csv = toCsv(["text", "n"], [{ text: "=1+1", n: 0.1 + 0.2 }, { n: -1 }, { text: null }]);
  assert.equal(csv, "text,n\r\n'=1+1,0.30000000000000004\r\n,-1\r\n,\r\n");
});
