/** What a judge is asked, and what its replies mean. */
import assert from "node:assert/strict";
import { checkTemplate, fillTemplate, judgePrompt, verdictOf } from "../../lib/eval/judge.ts";

const replies: [string, 1 | 0 | null][] = [
  ["CORRECT", 1],
  ["Incorrect.", 0],
  ["**INCORRECT**", 0],
  ["<think>It is correct, or incorrect?</think>\nCORRECT", 1],
  ["The answer says the same.\n\nVerdict: CORRECT", 1],
  ["CORRECT\nIt names the same city, though the year is incorrect.", 1],
  ["CORRECT or INCORRECT", null],
  ["It is not correct.", null],
  ["I cannot say.", null],
  ["", null],
  ["CORRECTNESS", null],
];

for (const [reply, verdict] of replies) {
  Deno.test(`verdictOf(${JSON.stringify(reply)}) is ${verdict}`, () => assert.equal(verdictOf(reply), verdict));
}

Deno.test("fillTemplate() puts texts in as they are, whatever they hold", () => {
  const row = { question: "{answer}", reference: "$& $1", answer: "{question} {reference}" };
  assert.equal(
    fillTemplate("Q {question} R {reference} A {answer}", row),
    "Q {answer} R $& $1 A {question} {reference}",
  );
  assert.ok(fillTemplate(judgePrompt, row).includes("Reference:\n$& $1\n"));
});

Deno.test("checkTemplate() wants a judge to see question and answer", () => {
  checkTemplate(judgePrompt, "own");
  assert.throws(
    () => checkTemplate("is {answer} right?", "my.txt"),
    /^UserError: my\.txt: .* does not hold \{question\}$/,
  );
});
