/** What was measured of a base model, kept for the next run: found by all that decides it, and never taken from a damaged file. */
import assert from "node:assert/strict";
import { openBaseAnswers } from "../../lib/cli/base_answers.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const answer = { text: "yes", finish: "stop" as const, tokens: 2, loss: 0.1 + 0.2, loss_tokens: 3, choice: 1 };

Deno.test("openBaseAnswers() gives back what was measured, bit for bit, and nothing that was measured otherwise", async () => {
  await inTempFolder((folder) => {
    const path = `${folder}/base.json`, known = openBaseAnswers(path);
    known.add([{ parts: ["model", 80, [1, 2]], answer }]);
    known.add([{ parts: ["model", 80, [3]], answer: { ...answer, choice: undefined } }]);
    const again = openBaseAnswers(path);
    assert.deepEqual(again.get(["model", 80, [1, 2]]), answer);
    assert.equal(again.get(["model", 80, [3]])!.choice, undefined);
    for (const other of [["other", 80, [1, 2]], ["model", 40, [1, 2]], ["model", 80, [1, 2, 3]]]) {
      assert.equal(again.get(other), undefined);
    }
  });
});

Deno.test("openBaseAnswers() keeps no scores, which are of a reference", async () => {
  await inTempFolder((folder) => {
    const path = `${folder}/base.json`;
    openBaseAnswers(path).add([{ parts: 1, answer: { ...answer, exact: 1, f1: 1, judged: 1 } as typeof answer }]);
    assert.doesNotMatch(Deno.readTextFileSync(path), /exact|f1|judged/);
  });
});

for (const text of ["", "{", "null", "[]", '{"format": "else", "answers": {}}', '{"format": "ftl-base-answers/1"}']) {
  Deno.test(`openBaseAnswers() measures anew where the file holds ${JSON.stringify(text)}`, async () => {
    await inTempFolder((folder) => {
      const path = `${folder}/base.json`;
      Deno.writeTextFileSync(path, text);
      const known = openBaseAnswers(path);
      assert.equal(known.get(1), undefined);
      known.add([{ parts: 1, answer }]);
      assert.equal(openBaseAnswers(path).get(1)!.text, "yes");
    });
  });
}
