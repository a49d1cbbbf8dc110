/** Random tables come back as they were from every kind of file; random damage ends in rows or in one clear line. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../lib/errors.ts";
import { csvOf, parquetOf, readAll, xlsxOf } from "../helpers/tables.ts";

/** Text of a cell: no control characters, which XML cannot hold, and not empty, which tables may leave out. */
const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
  // deno-lint-ignore no-control-regex
  .map((text) => "x" + text.replace(/[\u0000-\u001f\u007f-\u009f\ufffe\uffff\ufeff]/g, "\n").toWellFormed() + "x");
const tables = fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 20 });

const kinds: [name: string, write: (rows: [string, string][]) => Uint8Array][] = [
  [
    "t.jsonl",
    (rows) => encode(rows.map(([instruction, output]) => JSON.stringify({ instruction, output })).join("\n")),
  ],
  ["t.json", (rows) => encode(JSON.stringify(rows.map(([instruction, output]) => ({ instruction, output })), null, 1))],
  ["t.csv", (rows) => csvOf([["instruction", "output"], ...rows])],
  ["t.tsv", (rows) => csvOf([["instruction", "output"], ...rows], { delimiter: "\t", end: "\n" })],
  ["t.xlsx", (rows) => xlsxOf({ Rows: [["instruction", "output"], ...rows] }, { shared: rows.length % 2 === 0 })],
  ["t.parquet", (rows) => parquetOf([["instruction", "output"], ...rows], { rowGroupSize: 7 })],
];

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

for (const [source, write] of kinds) {
  Deno.test(`${source}: random tables come back as they were`, async () => {
    await fc.assert(
      fc.asyncProperty(tables, async (table) => {
        const { rows } = await readAll(write(table), { source });
        assert.deepEqual(
          rows.map((row) => [(row as { instruction: string }).instruction, (row as { output: string }).output]),
          table,
        );
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  Deno.test(`${source}: random damage ends in rows or in one clear line`, async () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom("set", "cut", "insert", "repeat")), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(tables, damage, async (table, steps) => {
        let bytes = write(table);
        for (const [at, byte, kind] of steps) bytes = damaged(bytes, at % Math.max(1, bytes.length), byte, kind);
        const begin = performance.now();
        try {
          await readAll(bytes, { source });
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          assert(error.message.startsWith("t."), error.message);
          assert(!error.message.includes("\n") && error.hint, error.message);
        }
        // Of a file of some kilobytes; usually a millisecond.
        const seconds = (performance.now() - begin) / 1000;
        assert(seconds < 20, `${seconds} s`);
      }),
      { seed: 2, numRuns: 400, endOnFailure: true },
    );
  });
}

function damaged(bytes: Uint8Array, at: number, byte: number, kind: string): Uint8Array {
  const head = bytes.subarray(0, at), tail = bytes.subarray(at);
  if (kind === "cut") return head;
  if (kind === "set") return Uint8Array.from([...head, byte, ...tail.subarray(1)]);
  return Uint8Array.from([...head, ...(kind === "insert" ? [byte] : head.subarray(-byte)), ...tail]);
}
