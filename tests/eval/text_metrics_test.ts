/** The measures against the numbers of the programs that define them (tests/golden/eval), and what must hold of any text. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { normalizeAnswer } from "../../lib/eval/answer_words.ts";
import { chrF, exactMatch, holdsAccepted, rougeL, tokenF1 } from "../../lib/eval/text_metrics.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenPath } from "../helpers/golden.ts";

interface Pair {
  answer: string;
  reference: string;
  exact: number;
  f1: number;
  rouge_l: number;
  chrf: number;
}

const golden: { ascii: Pair[]; unicode: Pick<Pair, "answer" | "reference" | "chrf">[] } = JSON.parse(
  Deno.readTextFileSync(goldenPath("eval/text_metrics.json")),
);

// A few sums and quotients of small whole numbers in float64 on both sides: 1e-12 is thousands of roundings.
const tolerance = { rtol: 1e-12, atol: 1e-12 };

const known: [keyof Omit<Pair, "answer" | "reference">, (answer: string, reference: string) => number][] = [
  ["exact", exactMatch],
  ["f1", tokenF1],
  ["rouge_l", rougeL],
  ["chrf", chrF],
];

for (const [name, measure] of known) {
  Deno.test(`${name} gives the numbers of its published program`, () => {
    const { ascii } = golden;
    const found = ascii.map(({ answer, reference }) => measure(answer, reference));
    const wrong = ascii.filter((pair, i) => !(Math.abs(pair[name] - found[i]) <= 1e-12));
    assert.deepEqual(wrong.map(({ answer, reference }) => [answer, reference]), []);
    assertClose(found, ascii.map((pair) => pair[name]), tolerance);
  });
}

Deno.test("chrF gives sacreBLEU's numbers in other scripts and with emoji", () => {
  assertClose(golden.unicode.map((p) => chrF(p.answer, p.reference)), golden.unicode.map((p) => p.chrf), tolerance);
});

Deno.test("words of other scripts count, where the ASCII programs see none", () => {
  assert.equal(exactMatch("«Löyly».", "löyly"), 1);
  assert.equal(tokenF1("الخط العربي، جميل", "الخط العربي"), 0.8);
  assert.equal(rougeL("löyly on höyryä", "löyly on"), 0.8);
  // Python's \b and \w know é, JavaScript's do not: no article is cut out of a word.
  assert.equal(normalizeAnswer("éa thé a théa"), "éa thé théa");
});

Deno.test("holdsAccepted() finds whole words only", () => {
  assert.equal(holdsAccepted("There are 21 strings.", ["twenty-one", "21"]), 1);
  assert.equal(holdsAccepted("It has Twenty-One strings", ["twenty-one"]), 1);
  assert.equal(holdsAccepted("That was in 1921.", ["21"]), 0);
  assert.equal(holdsAccepted("The steam", ["tea"]), 0);
  assert.equal(holdsAccepted("anything", ["the", "."]), 0, "phrases of which nothing is left");
  assert.equal(holdsAccepted("", ["x"]), 0);
});

Deno.test("every measure is between 0 and 1, 1 for a text against itself, and needs no particular text", () => {
  const text = fc.oneof(fc.string({ unit: "grapheme" }), fc.string(), fc.lorem());
  fc.assert(
    fc.property(text, text, (a, b) => {
      for (const [name, measure] of known) {
        const value = measure(a, b);
        assert.ok(value >= 0 && value <= 1 + 1e-12, `${name}: ${value}`);
      }
      assert.equal(exactMatch(a, a), 1);
      assert.equal(tokenF1(a, a), 1);
      if (/[\p{L}\p{N}]/u.test(a)) assert.ok(Math.abs(rougeL(a, a) - 1) <= 1e-12);
      if (/\S/.test(a)) assert.ok(Math.abs(chrF(a, a) - 1) <= 1e-12);
      assert.ok(Math.abs(tokenF1(a, b) - tokenF1(b, a)) <= 1e-12, "F1 is symmetric");
      assert.ok(Math.abs(rougeL(a, b) - rougeL(b, a)) <= 1e-12, "so is ROUGE-L");
    }),
    { numRuns: 300 },
  );
});
