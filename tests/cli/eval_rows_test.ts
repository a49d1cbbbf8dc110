/** Rows as questions, and questions as the rows that losses are measured on. */
import assert from "node:assert/strict";
import type { Question } from "../../lib/eval/questions.ts";
import { answeredRow, choiceRow, questionIds, questionSets } from "../../lib/cli/eval_rows.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

const tokenizer = smollm2Tokenizer();

function setsOf(rows: unknown[]): Promise<Question[]> {
  return new Promise((resolve, reject) =>
    inTempFolder(async (dir) => {
      const path = `${dir}/rows.jsonl`;
      Deno.writeTextFileSync(path, rows.map((row) => JSON.stringify(row) + "\n").join(""));
      resolve((await questionSets({ files: [path], what: null, limit: 0 }))[0].questions);
    }).catch(reject)
  );
}

/** Text of the targets of a row. */
function targetText({ tokens, targets }: { tokens: Int32Array; targets: Uint8Array }): string {
  return tokenizer.decode([...tokens].filter((_, i) => targets[i]));
}

for (const style of ["alpaca", "alpaca-short", "chat"] as const) {
  Deno.test(`the loss of an answer in style ${style} is that of the prompt as it is asked, and of the answer alone`, async () => {
    const [plain, withInput] = await setsOf([
      { instruction: "What is batik?", output: "Wax and dye." },
      { instruction: "Translate.", input: "Selamat pagi", output: "Good morning." },
    ]);
    for (const question of [plain, withInput]) {
      const asking = { tokenizer, style, maxLength: 500 };
      const prompt = questionIds(question, asking), row = answeredRow(question, question.reference, asking)!;
      assert.deepEqual([...row.tokens.slice(0, prompt.length)], prompt);
      assert.equal(row.targets.indexOf(1), prompt.length);
      assert.match(targetText(row), new RegExp(`^${question.reference}<\\|im_end\\|>$`));
      assert.equal(targetText(choiceRow(question, "Something else.", asking)!), "Something else.");
      assert.equal(answeredRow(question, question.reference, { ...asking, maxLength: 10 }), null);
    }
  });
}

Deno.test("of a conversation the last answer is asked for, the others are part of the question", async () => {
  const messages = [
    ...[{ role: "user", content: "One?" }, { role: "assistant", content: "First." }],
    ...[{ role: "user", content: "Two?" }, { role: "assistant", content: "Second." }],
  ];
  const [question] = await setsOf([{ messages }]);
  assert.equal(question.shown, "Two?");
  assert.equal(question.reference, "Second.");
  assert.deepEqual(question.messages, messages.slice(0, 3));
  const row = answeredRow(question, question.reference, { tokenizer, style: "chat", maxLength: 500 })!;
  assert.match(targetText(row), /^Second\.<\|im_end\|>$/);
});

Deno.test("without files the sets are those of the samples, by what they show", async () => {
  const sets = await questionSets({ files: [], what: "smollm2-135m", limit: 3 });
  assert.deepEqual(sets.map(({ name, role }) => [name, role]), [
    ["cultural-qa-16", "trained"],
    ["cultural-qa-unseen-16", "unseen"],
    ["cultural-qa-untaught-16", "untaught"],
    ["control-20", "control"],
  ]);
  assert.ok(sets.every(({ questions }) => questions.length === 3));
  assert.ok(sets.slice(1).every(({ questions }) => questions.every(({ choices }) => choices?.texts.length === 4)));
});

Deno.test("a run's sets are its own rows, those it held out, and the control set", async () => {
  await inTempFolder(async (dir) => {
    const roles = async (config: string) => {
      Deno.writeTextFileSync(`${dir}/config.yaml`, config);
      return (await questionSets({ files: [], what: dir, limit: 0 })).map(({ name, role, questions }) =>
        `${role} ${name} ${questions.length}`
      );
    };
    assert.deepEqual(await roles("data: data/cultural-qa-4.jsonl\n"), [
      ...["trained cultural-qa-4 4", "unseen cultural-qa-unseen-4 4"],
      ...["untaught cultural-qa-untaught-16 16", "control control-20 20"],
    ]);
    assert.deepEqual(await roles("data: data/cultural-qa-16.jsonl\neval_split: 0.25\n"), [
      ...["trained cultural-qa-16 12", "unseen cultural-qa-16 4", "control control-20 20"],
    ]);
    Deno.writeTextFileSync(`${dir}/mine.jsonl`, '{"instruction": "a", "output": "b"}\n');
    assert.deepEqual(await roles(`data: ${dir}/mine.jsonl\n`), ["trained mine 1", "control control-20 20"]);
    assert.deepEqual(await roles(`data: ${dir}/mine.jsonl\neval_data: data/cultural-qa-unseen-8.jsonl\n`), [
      ...["trained mine 1", "unseen cultural-qa-unseen-8 8", "control control-20 20"],
    ]);
  });
});
