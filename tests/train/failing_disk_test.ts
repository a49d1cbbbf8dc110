/** Training on a disk that fails at any operation: it goes on, says so, and what was good before stays good. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { listCheckpoints, readCheckpoint } from "../../lib/train/checkpoint.ts";
import { readLog } from "../../lib/train/log.ts";
import { bigramModel, bigramRows } from "../helpers/bigram_model.ts";
import { onFailingDisk, refusalAt } from "../helpers/failing_disk.ts";
import { inTemporaryFolder, trainBigram } from "../helpers/train_bigram.ts";

const settings = { maxSteps: 7, saveSteps: 2, saveTotalLimit: 2, learningRate: 0.05 };

interface Files {
  checkpoints: string;
  log: string;
}

const run = (files: Files, more: { resume?: boolean; rows?: ReturnType<typeof bigramRows> } = {}) =>
  trainBigram({ model: bigramModel({ dropout: 0.3 }), rows: bigramRows(4), settings, files, ...more });

const lasting = (files: Files) => readLog(files.log).map((line) => ({ ...line, seconds: 0, memory_bytes: 0 }));

Deno.test("train() meets a disk that fails at any operation with the same values, or goes on to them afterwards", async () => {
  await inTemporaryFolder(async (files, folder) => {
    const whole = await onFailingDisk(folder, { at: 0, cause: "EIO", lasting: false }, () => run(files));
    const expected = { values: whole.result!.model.parameters.map(({ value }) => value), log: lasting(files) };
    assert.ok(whole.operations > 30, `${whole.operations} operations`);
    let wentOn = 0;
    for (let at = 1; at <= whole.operations; at++) {
      await inTemporaryFolder(async (files, folder) => {
        const refusal = refusalAt(at), what = JSON.stringify(refusal);
        const { result, error } = await onFailingDisk(folder, refusal, () => run(files));
        const good = listCheckpoints(files.checkpoints);
        for (const { path, step } of good) assert.equal(readCheckpoint(path).state.step, step, what);
        if (error) {
          // Only what a run begins with may end it: its log.
          assert.ok(error instanceof UserError, `${what}: ${error}`);
          assert.match(error.message, /^Cannot write .*log\.jsonl: (the |permission denied)/, what);
          assert.ok(error.hint && !error.message.includes("\n"), what);
          assert.deepEqual(good, [], what);
        } else {
          const { result: { reason, saved, unsaved }, events, model } = result!;
          assert.equal(reason, "finished", what);
          assert.deepEqual(model.parameters.map(({ value }) => value), expected.values, what);
          assert.equal(saved, good.at(-1)?.step ?? -1, what);
          assert.equal(unsaved === undefined, saved === 7, what);
          const refused = events.flatMap((event) => event.type === "unsaved" ? [event] : []);
          for (const { message, saved, step } of refused) {
            assert.match(message, /^Cannot (write|make the folder) .*: (the |permission denied)/, what);
            assert.ok(saved < step && (saved === -1 || saved >= step - 4 || refusal.lasting), what);
          }
          if (refused.length > 0) wentOn++;
        }
        const again = await run(files, { resume: true });
        assert.deepEqual(again.model.parameters.map(({ value }) => value), expected.values, what);
        const lost = again.events.some((event) => event.type === "note" && event.message.startsWith("lost: "));
        if (!lost) assert.deepEqual(lasting(files), expected.log, what);
        assert.ok(!lost || refusal.lasting, `only a lasting failure may cost lines of the log: ${what}`);
        assert.deepEqual([...Deno.readDirSync(files.checkpoints)].filter(({ name }) => /part$/.test(name)), [], what);
      });
    }
    assert.ok(wentOn > 10, `${wentOn} runs went on without a checkpoint`);
  });
});

Deno.test("train() refuses to begin where its checkpoints and adapter cannot fit", async () => {
  const enormous = bigramModel();
  enormous.parameters[0] = { ...enormous.parameters[0], value: { byteLength: 1e18, length: 70 * 70 } as Float32Array };
  await inTemporaryFolder(async (files) => {
    const model = { ...enormous };
    await assert.rejects(trainBigram({ model, files }), {
      name: "UserError",
      message: /^This run, for its adapter and 3 checkpoints, needs \d+\.\d GB in .*, [\d.]+ .B are free$/,
    });
  });
});
