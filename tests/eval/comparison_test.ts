/** Sums of a model's answers. */
import assert from "node:assert/strict";
import {
  type ComparedAnswer,
  type CompareResults,
  groupModels,
  type ModelFacts,
  summarizeModel,
} from "../../lib/eval/comparison.ts";
import { scoreText } from "../../lib/eval/summary.ts";

const facts: ModelFacts = { name: "m", kind: "remote", parameters: null, bytes: null, price: { input: 3, output: 15 } };
const answer = (set: number, text: string, more: Partial<ComparedAnswer> = {}): ComparedAnswer => ({
  ...{ set, row: 0, text, finish: "stop", prompt_tokens: 100, answer_tokens: 11, first_token_ms: 50, total_ms: 150 },
  ...scoreText(text, { reference: "yes", accepted: ["yes"] }),
  ...more,
});

Deno.test("summarizeModel() counts, takes medians and sums, and scores each set apart", () => {
  const answers = [
    answer(0, "yes"),
    answer(0, "no", { first_token_ms: 100, total_ms: 120 }),
    answer(1, "yes", { first_token_ms: 60, total_ms: 260, finish: "refused" }),
    { set: 1, row: 1, error: "500" },
  ];
  const { scores, ...found } = summarizeModel(facts, answers, { sets: 2, seed: 1 });
  assert.deepEqual([found.answered, found.failed, found.refused], [3, 1, 1]);
  // 10 tokens after the first in 100, 20 and 200 ms.
  assert.deepEqual([found.first_token_ms, found.tokens_per_second], [60, 100]);
  assert.deepEqual([found.prompt_tokens, found.answer_tokens], [300, 33]);
  assert.equal(found.cost, (300 * 3 + 33 * 15) / 1e6);
  assert.deepEqual(scores.map(({ accepted }) => [accepted!.value, accepted!.rows]), [[0.5, 2], [1, 1]]);
  assert.ok(scores.every((set) => set.loss === undefined));
});

Deno.test("summarizeModel() invents no cost and no speed", () => {
  const uncounted = answer(0, "yes", { prompt_tokens: null, answer_tokens: null });
  const found = summarizeModel(facts, [answer(0, "yes"), uncounted], { sets: 1, seed: 1 });
  assert.deepEqual([found.prompt_tokens, found.answer_tokens, found.cost], [null, null, null]);
  assert.equal(found.tokens_per_second, 100, "of the one that was counted");
  assert.equal(summarizeModel({ ...facts, price: null }, [answer(0, "yes")], { sets: 1, seed: 1 }).cost, null);
  const none = summarizeModel(facts, [{ set: 0, row: 0, error: "401" }], { sets: 1, seed: 1 });
  assert.deepEqual([none.first_token_ms, none.tokens_per_second, none.cost, none.scores], [null, null, null, [{}]]);
});

Deno.test("groupModels() averages models, each question over them, and leaves out what one of them does not tell", () => {
  const model = (name: string, texts: (string | null)[], more: Partial<ModelFacts> = {}) =>
    summarizeModel(
      { ...facts, bytes: 100, ...more, name },
      texts.map((text, row) => text === null ? { set: 0, row, error: "500" } : { ...answer(0, text), row }),
      { sets: 1, seed: 1 },
    );
  const results = {
    sets: [{ name: "q", role: "given", source: "q", rows: [1, 2, 3] }],
    models: [
      model("base", ["no", "no", "no"]),
      model("a", ["yes", "no", null]),
      model("b", ["yes", "yes", "yes"], { bytes: 300 }),
      model("c", ["yes", "yes", "yes"], { bytes: null, price: null }),
      model("silent", [null, null, null]),
    ],
  } as unknown as CompareResults;
  const groups = [["base", "base"], ["ab", "a", "b"], ["bc", "b", "c"], ["silent", "silent"], ["none", "x"]]
    .map(([label, ...names]) => ({ label, names }));
  const [base, ab, bc, ...others] = groupModels(results, groups, { seed: 1 });
  assert.deepEqual(others, []);
  assert.deepEqual([base.label, base.models, base.scores[0].accepted!.value], ["base", 1, 0]);
  // Of the two questions that both answered: 1 and 0.5.
  const { value, rows, low, high } = ab.scores[0].accepted!;
  assert.deepEqual([value, rows], [0.75, 2]);
  assert.ok(low! >= 0.5 && high! <= 1);
  assert.deepEqual([ab.models, ab.bytes, ab.first_token_ms, ab.tokens_per_second], [2, 200, 50, 100]);
  assert.deepEqual([bc.bytes, bc.cost, bc.scores[0].accepted!.value], [null, null, 1]);
});
