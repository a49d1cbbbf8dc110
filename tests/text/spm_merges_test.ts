import assert from "node:assert/strict";
import { mergesFromScores } from "../../lib/text/spm_merges.ts";

Deno.test("mergesFromScores lists every cut of every piece, best score first", () => {
  const tokens = ["a", "b", "c", "ab", "bc", "abc", "<0x61>"];
  const scores = [-10, -11, -12, -2, -1, -3, 0];
  assert.deepEqual(mergesFromScores(tokens, { scores, mergeable: (id) => id !== 6 }), [
    ["b", "c"],
    ["a", "b"],
    ["a", "bc"],
    ["ab", "c"],
  ]);
});

Deno.test("mergesFromScores leaves out pieces that are not plain text, as wholes and as halves", () => {
  const tokens = ["a", "b", "ab", "abab"];
  assert.deepEqual(mergesFromScores(tokens, { scores: [0, 0, 0, 0], mergeable: (id) => id !== 2 }), []);
});

Deno.test("mergesFromScores of an empty vocabulary is empty", () => {
  assert.deepEqual(mergesFromScores([], { scores: [], mergeable: () => true }), []);
});
