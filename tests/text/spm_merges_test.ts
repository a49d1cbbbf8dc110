import assert from "node:assert/strict";
import { mergesFromScores } from "../../lib/text/spm_merges.ts";

Deno.test("mergesFromScores lists every cut of every piece, best score first", () => {
  const tokens = ["a", "b", "c", "ab", "bc", "abc", "<0x61>"];
  const scores = [-10, -11, -12, -2, -1, -3, 0];
  const merges = mergesFromScores(tokens, { scores, mergeable: (id) => id !== 6 });
  const spelt = Array.from(merges, (id) => tokens[id]).join(" ");
  assert.equal(spelt, ["b c bc", "a b ab", "a bc abc", "ab c abc"].join(" "));
});

Deno.test("mergesFromScores leaves out pieces that are not plain text, as wholes and as halves", () => {
  const tokens = ["a", "b", "ab", "abab"];
  assert.equal(mergesFromScores(tokens, { scores: [0, 0, 0, 0], mergeable: (id) => id !== 2 }).length, 0);
});

Deno.test("mergesFromScores of an empty vocabulary is empty", () => {
  assert.equal(mergesFromScores([], { scores: [], mergeable: () => true }).length, 0);
});
