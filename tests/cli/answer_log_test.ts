/** The log of answers survives being cut anywhere. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type LoggedAnswer, openAnswerLog } from "../../lib/cli/answer_log.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

Deno.test("openAnswerLog() keeps every whole line of a file cut at any byte, and goes on behind it", async () => {
  await inTempFolder((dir) => {
    const answer = fc.record({ text: fc.string({ unit: "grapheme" }), error: fc.boolean() });
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 6 }), fc.nat(), (list, at) => {
        const path = `${dir}/answers.jsonl`;
        Deno.writeTextFileSync(path, "");
        const answers = list.map(({ text, error }, i): LoggedAnswer => ({
          ...{ key: `k${i}`, model: "m", question: "q" },
          ...error ? { error: text } : { text },
        }));
        const log = openAnswerLog(path);
        answers.forEach((one) => log.add(one));
        log.close();
        const bytes = Deno.readFileSync(path), kept = bytes.subarray(0, at % (bytes.length + 1));
        const whole = kept.filter((byte) => byte === 0x0a).length;
        Deno.writeFileSync(path, kept);

        const again = openAnswerLog(path);
        answers.forEach(({ key, text }, i) => {
          assert.deepEqual(again.get(key), i < whole ? answers[i] : undefined);
          assert.equal(again.has(key), i < whole && text !== undefined);
        });
        answers.slice(whole).forEach((one) => again.add(one));
        again.close();
        assert.deepEqual(Deno.readFileSync(path), bytes, "the same file in the end");
      }),
      { numRuns: 60 },
    );
  });
});

Deno.test("openAnswerLog(): an answer replaces a failure, a failure never an answer", async () => {
  await inTempFolder((dir) => {
    const log = openAnswerLog(`${dir}/a.jsonl`), head = { key: "k", model: "m", question: "q" };
    log.add({ ...head, error: "500" });
    assert.equal(log.has("k"), false);
    log.add({ ...head, text: "yes" });
    log.add({ ...head, error: "500" });
    assert.equal(log.get("k")?.text, "yes");
    log.close();
    const again = openAnswerLog(`${dir}/a.jsonl`);
    assert.equal(again.get("k")?.text, "yes");
    again.close();
  });
});

Deno.test("openAnswerLog() names a damaged line in the middle, and a folder in the way", async () => {
  await inTempFolder((dir) => {
    Deno.writeTextFileSync(`${dir}/a.jsonl`, '{"key":"a","text":"b"}\nnonsense\n');
    assert.throws(() => openAnswerLog(`${dir}/a.jsonl`), /^UserError: Cannot read .*a\.jsonl:2: not an answer/);
    Deno.mkdirSync(`${dir}/b.jsonl`);
    assert.throws(() => openAnswerLog(`${dir}/b.jsonl`), /^UserError: Cannot write .*b\.jsonl/);
  });
});
