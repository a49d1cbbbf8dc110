/** Exact resume: after Ctrl-C, a crash, a kill, or damage, the run goes on as if nothing had happened. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../lib/errors.ts";
import { listCheckpoints, readCheckpoint } from "../../lib/train/checkpoint.ts";
import { type LogLine, readLog } from "../../lib/train/log.ts";
import { bigramModel, bigramRows } from "../helpers/bigram_model.ts";
import { type BigramRun, inTemporaryFolder, trainBigram } from "../helpers/train_bigram.ts";

const evalRows = bigramRows(3, 9);
const settings = { maxSteps: 10, learningRate: 0.05, evalSteps: 4 };
const dropout = 0.3;

/** What must not depend on interruptions: losses, norms, rates, evaluations, final values. */
async function uninterrupted(run: BigramRun = {}) {
  let lines: LogLine[] = [];
  let values: Float32Array[] = [];
  await inTemporaryFolder(async (files) => {
    const { model } = await trainBigram({
      evalRows,
      model: bigramModel({ dropout }),
      ...run,
      settings: { ...settings, ...run.settings },
      files,
    });
    lines = readLog(files.log);
    values = model.parameters.map(({ value }) => value);
  });
  return { lines: withoutTimes(lines), values };
}

const withoutTimes = (lines: LogLine[]) => lines.map((line) => ({ ...line, seconds: 0, memory_bytes: 0 }));

/** Runs until step `last` ended, as Ctrl-C would. */
async function runUntil(last: number, run: BigramRun) {
  const controller = new AbortController();
  return await trainBigram({
    evalRows,
    model: bigramModel({ dropout }),
    ...run,
    settings: { ...settings, ...run.settings },
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === "step" && event.step === last) controller.abort();
    },
  });
}

for (const optim of ["adamw_8bit", "adamw_torch"] as const) {
  Deno.test(`train() with ${optim} resumes after Ctrl-C at any step bit for bit`, async () => {
    const whole = await uninterrupted({ settings: { optim } });
    for (const stops of [[1], [3], [4], [9], [2, 5, 6]]) {
      await inTemporaryFolder(async (files) => {
        let resume = false;
        for (const stop of stops) {
          const { result } = await runUntil(stop, { files, resume, settings: { optim } });
          assert.deepEqual({ reason: result.reason, step: result.step }, { reason: "interrupted", step: stop });
          resume = true;
        }
        const { model, result, events } = await runUntil(-1, { files, resume, settings: { optim } });
        assert.equal(result.reason, "finished");
        assert.equal((events[0] as { step: number }).step, stops.at(-1));
        assert.deepEqual(withoutTimes(readLog(files.log)), whole.lines, `stopped after ${stops}`);
        assert.deepEqual(model.parameters.map(({ value }) => value), whole.values, `stopped after ${stops}`);
      });
    }
  });
}

Deno.test("train() resumes from the last checkpoint after a crash, and cuts the log there", async () => {
  const whole = await uninterrupted();
  await inTemporaryFolder(async (files) => {
    let pass = 0;
    const model = bigramModel({
      dropout,
      onPass: () => {
        if (++pass === 6) throw new Error("out of memory");
      },
    });
    await assert.rejects(trainBigram({ model, evalRows, files, settings }), /out of memory/);
    assert.equal(readLog(files.log).length, 5);
    Deno.writeTextFileSync(files.log, '{"step":6,"loss":1.', { append: true }); // a line cut off by the end of the process
    const { model: resumed, events } = await runUntil(-1, { files, resume: true });
    assert.equal((events[0] as { step: number }).step, 3);
    assert.deepEqual(withoutTimes(readLog(files.log)), whole.lines);
    assert.deepEqual(resumed.parameters.map(({ value }) => value), whole.values);
  });
});

Deno.test("train() resumes a run killed at any moment bit for bit", async () => {
  const script = new URL("../helpers/train_process.ts", import.meta.url).pathname;
  const start = (folder: string) =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", script, folder],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  await inTemporaryFolder(async (_, folder) => {
    const whole = join(folder, "whole"), killed = join(folder, "killed");
    assert.ok((await start(whole).output()).success);
    const reached: number[] = [];
    for (const milliseconds of [40, 90, 10]) {
      const process = start(killed);
      const reader = process.stdout.getReader();
      await reader.read(); // it trains
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      process.kill("SIGKILL");
      reader.releaseLock();
      await process.output();
      reached.push(listCheckpoints(join(killed, "checkpoints")).at(-1)!.step);
    }
    assert.ok(reached[0] < 200 && reached[2] < 200, `killed after steps ${reached}`);
    const last = await start(killed).output();
    assert.ok(last.success, new TextDecoder().decode(last.stderr));
    const [expected, actual] = [whole, killed].map((path) => ({
      log: withoutTimes(readLog(join(path, "log.jsonl"))),
      values: readCheckpoint(listCheckpoints(join(path, "checkpoints")).at(-1)!.path).values,
    }));
    assert.equal(actual.log.length, 200);
    assert.deepEqual(actual, expected);
  });
});

/** Ways a file may be ruined: a name and what becomes of the bytes. */
const damages: [string, (bytes: Uint8Array) => Uint8Array][] = [
  ["empty", () => new Uint8Array(0)],
  ["cut short", (bytes) => bytes.subarray(0, bytes.length - 1)],
  ["cut in the header", (bytes) => bytes.subarray(0, 100)],
  ["one bit of a value changed", (bytes) => bytes.with(bytes.length - 7, bytes[bytes.length - 7] ^ 4)],
  ["its state changed", (bytes) => replaceText(bytes, '\\"step\\":6', '\\"step\\":7')],
  ["another format", (bytes) => replaceText(bytes, "ftl checkpoint 1", "ftl checkpoint 9")],
  ["garbage", (bytes) => bytes.map((_, i) => i * 37)],
];

function replaceText(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const text = new TextDecoder("latin1").decode(bytes);
  assert.ok(text.includes(from), from);
  return Uint8Array.from(text.replace(from, to), (character) => character.charCodeAt(0));
}

Deno.test("train() falls back to the checkpoint before a damaged one and says so", async () => {
  const whole = await uninterrupted();
  for (const [what, damage] of damages) {
    await inTemporaryFolder(async (files) => {
      await runUntil(6, { files });
      const newest = join(files.checkpoints, "step-000006.safetensors");
      Deno.writeFileSync(newest, damage(Deno.readFileSync(newest)));
      const { events, model } = await runUntil(-1, { files, resume: true });
      const reports = events.flatMap((event) => event.type === "damaged_checkpoint" ? [event] : []);
      assert.deepEqual(reports.map(({ path, lost }) => [path, lost]), [[newest, { from: 3, to: 6 }]], what);
      assert.equal((events.find(({ type }) => type === "start") as { step: number }).step, 3, what);
      assert.deepEqual(model.parameters.map(({ value }) => value), whole.values, what);
      assert.deepEqual(withoutTimes(readLog(files.log)), whole.lines, what);
      assert.ok(Deno.statSync(`${newest}.damaged`).isFile, what);
    });
  }
});

Deno.test("train() refuses to resume when every checkpoint is damaged", async () => {
  await inTemporaryFolder(async (files) => {
    await runUntil(4, { files });
    for (const { path } of listCheckpoints(files.checkpoints)) Deno.writeTextFileSync(path, "x");
    await assert.rejects(runUntil(-1, { files, resume: true }), {
      name: "UserError",
      message: /none of the 2 checkpoints/,
    });
    assert.equal(listCheckpoints(files.checkpoints).length, 2, "they stay where they are");
  });
});

Deno.test("train() resumes a run that has no checkpoint yet at its beginning, and says so", async () => {
  const whole = await uninterrupted();
  await inTemporaryFolder(async (files) => {
    const { events, model } = await runUntil(-1, { files, resume: true });
    assert.match((events.find(({ type }) => type === "note") as { message: string }).message, /beginning at step 0/);
    assert.deepEqual(model.parameters.map(({ value }) => value), whole.values);
  });
});

Deno.test("train() leaves out lines of the log that were damaged before the checkpoint, and counts them", async () => {
  const whole = await uninterrupted();
  await inTemporaryFolder(async (files) => {
    await runUntil(6, { files });
    const lines = Deno.readTextFileSync(files.log).split("\n");
    Deno.writeTextFileSync(files.log, lines.with(1, "\0".repeat(20)).with(3, "null").join("\n"));
    const { events } = await runUntil(-1, { files, resume: true });
    const notes = events.flatMap((event) => event.type === "note" ? [event.message] : []);
    assert.deepEqual(notes, [`lost: the lines of 2 of the first 6 steps in ${files.log}`]);
    assert.deepEqual(withoutTimes(readLog(files.log)), whole.lines.filter(({ step }) => step !== 2 && step !== 4));
  });
});

Deno.test("train() names what differs from the run it is to resume", async () => {
  await inTemporaryFolder(async (files) => {
    await runUntil(4, { files, fingerprint: { model: "sha256 aa", data: "sha256 bb" } });
    const fingerprint = { model: "sha256 aa", data: "sha256 cc", r: "8" };
    const error = await runUntil(-1, { files, resume: true, fingerprint, settings: { learningRate: 0.1 } })
      .then(() => undefined, (error) => error);
    assert.ok(error instanceof UserError);
    assert.match(
      error.message,
      /learning_rate was 0.05 and is now 0.1; data was sha256 bb and is now sha256 cc; r was not set and is now 8$/,
    );
    await assert.rejects(
      runUntil(-1, { files, resume: true, rows: bigramRows(17) }),
      /rows was 16 and is now 17; model was/,
    );
  });
});

Deno.test("train() refuses another adapter under the same fingerprint", async () => {
  await inTemporaryFolder(async (files) => {
    await runUntil(4, { files });
    const model = bigramModel();
    model.parameters.pop();
    const one = { ...model, parameters: model.parameters };
    await assert.rejects(
      runUntil(-1, { files, resume: true, model: one }),
      /holds 2 tensors of an adapter, this one has 1/,
    );
    const renamed = bigramModel();
    renamed.parameters[1].name = "base_model.other";
    await assert.rejects(
      runUntil(-1, { files, resume: true, model: renamed }),
      /"base_model.other" has no values, 70 are/,
    );
  });
});

Deno.test("train() says when a resumed run has another pass size, and goes on", async () => {
  await inTemporaryFolder(async (files) => {
    await runUntil(4, { files });
    const { events, result } = await runUntil(-1, { files, resume: true, rowsPerPass: 2 });
    assert.match((events.find(({ type }) => type === "note") as { message: string }).message, /2 rows now and held 8/);
    assert.equal(result.reason, "finished");
  });
});

Deno.test("train() resumes early stopping: best loss, patience and best parameters", async () => {
  const script = [3, 2, 2.5, 2.2, 1.9, 2.1, 2.0, 2.3];
  const run = async (files: { checkpoints: string; log: string }, stop: number, resume: boolean) => {
    const model = bigramModel({ dropout }), byStep = new Map(script.map((loss, i) => [2 * i, loss]));
    let step = resume ? listCheckpoints(files.checkpoints).at(-1)!.step : 0;
    model.evaluate = () => Promise.resolve([{ loss: byStep.get(step)!, targets: 1 }]);
    const { accumulate } = model;
    model.accumulate = (...args) => {
      step++;
      return accumulate(...args);
    };
    const early = { maxSteps: 30, evalSteps: 2, earlyStoppingPatience: 3, saveSteps: 5, saveTotalLimit: 1 };
    return await runUntil(stop, { model, files, resume, settings: early });
  };
  await inTemporaryFolder(async (files) => {
    const whole = await run(files, -1, false);
    assert.deepEqual(whole.result.best, { step: 8, loss: 1.9 });
    assert.equal(whole.result.step, 14);
    for (const stop of [5, 9, 13]) {
      await inTemporaryFolder(async (files) => {
        await run(files, stop, false);
        const { result, model } = await run(files, -1, true);
        assert.deepEqual(result, whole.result);
        assert.deepEqual(model.parameters[0].value, whole.model.parameters[0].value, `stopped after ${stop}`);
      });
    }
  });
});

Deno.test("train() does not start a new run over an earlier one's checkpoints, and clears half-written ones", async () => {
  await inTemporaryFolder(async (files) => {
    await runUntil(4, { files });
    const leftover = join(files.checkpoints, "step-000005.safetensors.123-1.part");
    Deno.writeTextFileSync(leftover, "half");
    await assert.rejects(runUntil(-1, { files }), {
      name: "UserError",
      message: /checkpoints up to step 4 of an earlier/,
    });
    assert.throws(() => Deno.statSync(leftover), Deno.errors.NotFound);
  });
});
