import assert from "node:assert/strict";
import fc from "fast-check";
import { makeMerges, mergeIds } from "../../lib/text/bpe_merges.ts";

/** The rule itself: look at every pair, join the first in the list, of equal ones the leftmost, until there is none. */
function joinSlowly(symbols: number[], merges: number[][]): number[] {
  for (;;) {
    let best = -1, bestRank = Infinity;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = merges.findLastIndex(([left, right]) => left === symbols[i] && right === symbols[i + 1]);
      if (rank >= 0 && rank < bestRank) [best, bestRank] = [i, rank];
    }
    if (best < 0) return symbols;
    symbols = symbols.toSpliced(best, 2, merges[bestRank][2]);
  }
}

Deno.test("makeMerges() joins as the rule says, for any list and any word", () => {
  const id = fc.integer({ min: 0, max: 8 });
  const merges = fc.array(fc.tuple(id, id, id), { maxLength: 30 });
  const words = fc.array(fc.integer({ min: -2, max: 8 }), { maxLength: 40 });
  fc.assert(
    fc.property(merges, words, (merges, word) => {
      const symbols = [...word];
      makeMerges(Int32Array.from(merges.flat())).join(symbols);
      assert.deepEqual(symbols, joinSlowly(word, merges));
    }),
    { seed: 1, numRuns: 2000 },
  );
});

Deno.test("makeMerges() joins a long run in a time that grows little faster than it", () => {
  const doubling = Int32Array.from(Array.from({ length: 17 }, (_, i) => [i, i, i + 1]).flat());
  const symbols = new Array<number>(1 << 17).fill(0);
  makeMerges(doubling).join(symbols);
  assert.deepEqual(symbols, [17]);
});

Deno.test("mergeIds() takes both spellings of a merge, and none that the vocabulary lacks", () => {
  const pieces = new Map([["a", 5], ["b", 7], ["ab", 9]]);
  assert.deepEqual([...mergeIds(["a b"], pieces)!], [5, 7, 9]);
  assert.deepEqual([...mergeIds([["a", "b"]], pieces)!], [5, 7, 9]);
  for (const merge of ["a c", "c b", "b a", "ab"]) assert.equal(mergeIds([merge], pieces), null);
});
