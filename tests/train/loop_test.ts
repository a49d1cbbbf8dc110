/** The loop without interruptions: windows, clipping, evaluation, early stopping, what it refuses. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import type { StepEvent, TrainEvent } from "../../lib/train/events.ts";
import { listCheckpoints } from "../../lib/train/checkpoint.ts";
import { readLog } from "../../lib/train/log.ts";
import { bigramModel, bigramRows } from "../helpers/bigram_model.ts";
import { assertClose } from "../helpers/close.ts";
import { defaults, inTemporaryFolder, trainBigram } from "../helpers/train_bigram.ts";

const steps = (events: TrainEvent[]) => events.filter((event): event is StepEvent => event.type === "step");
const types = (events: TrainEvent[]) => events.map(({ type }) => type);

Deno.test("train() lowers the loss and reports every step in order", async () => {
  const { events, result } = await trainBigram({ settings: { maxSteps: 30, learningRate: 0.2 } });
  const losses = steps(events).map(({ loss }) => loss);
  assert.equal(losses.length, 30);
  assert.ok(losses[29] < 0.6 * losses[0], `${losses[0]} -> ${losses[29]}`);
  assert.deepEqual(steps(events).map(({ step }) => step), Array.from({ length: 30 }, (_, i) => i + 1));
  assert.deepEqual([types(events)[0], types(events).at(-1)], ["start", "stop"]);
  assert.deepEqual({ reason: result.reason, step: result.step }, { reason: "finished", step: 30 });
});

Deno.test("train() gives the same losses however a window is split into batches, accumulation and passes", async () => {
  const splits = [[8, 1, 8], [4, 2, 8], [2, 4, 8], [8, 1, 3], [2, 4, 1]];
  const runs = [];
  for (const [batch, accumulation, rowsPerPass] of splits) {
    const settings = { perDeviceTrainBatchSize: batch, gradientAccumulationSteps: accumulation, maxSteps: 12 };
    runs.push(await trainBigram({ settings: { ...settings, learningRate: 0.05 }, rowsPerPass }));
  }
  const [first, ...others] = runs.map(({ events }) => steps(events));
  for (const [i, other] of others.entries()) {
    const what = splits[i + 1].join(" x ");
    assertClose(other.map(({ loss }) => loss), first.map(({ loss }) => loss), { rtol: 1e-6, what });
    assertClose(other.map(({ gradNorm }) => gradNorm), first.map(({ gradNorm }) => gradNorm), { rtol: 1e-5, what });
    assert.deepEqual(other.map(({ tokens }) => tokens), first.map(({ tokens }) => tokens));
  }
});

Deno.test("train() divides by the target tokens of the window, not by rows or passes", async () => {
  const rows = bigramRows(3), model = bigramModel();
  const single = await Promise.all(rows.map(async (row) => (await model.evaluate([row]))[0]));
  const expected = single.reduce((sum, { loss }) => sum + loss, 0) /
    single.reduce((sum, { targets }) => sum + targets, 0);
  const { events } = await trainBigram({ rows, rowsPerPass: 2, settings: { maxSteps: 1 } });
  assertClose([steps(events)[0].loss], [expected], { rtol: 1e-12 });
  assert.equal(steps(events)[0].tokens, rows.reduce((sum, { tokens }) => sum + tokens.length, 0));
});

Deno.test("train() ends an epoch with a smaller window and counts epochs as the Trainer", async () => {
  const seen: number[] = [];
  const rows = bigramRows(10);
  const settings = { maxSteps: -1, numTrainEpochs: 1.5, perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 2 };
  const { events, result } = await trainBigram({
    rows,
    settings,
    rowAt: (position) => {
      seen.push(position);
      return rows[position % 10];
    },
  });
  assert.equal(result.totalSteps, 5); // 3 steps an epoch, 1.5 epochs, rounded up
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
  assert.deepEqual(steps(events).map(({ epoch }) => epoch), [0.4, 0.8, 1, 1.4, 1.8]);
  const capped = await trainBigram({ rows, settings: { ...settings, maxSteps: 2 } });
  assert.equal(capped.result.totalSteps, 2);
});

Deno.test("train() scales gradients down to max_grad_norm, through the optimiser", async () => {
  // With a large eps AdamW's first update is lr * gradient * factor / eps: the factor shows in the values.
  const linear = { lrSchedulerType: "constant", maxSteps: 1, learningRate: 10, optim: "adamw_torch" } as const;
  const adamw = { beta1: 0.9, beta2: 0.999, eps: 1e3, weightDecay: 0 };
  const change = async (maxGradNorm: number) => {
    const { events, model } = await trainBigram({ settings: { ...linear, adamw, maxGradNorm } });
    const before = bigramModel().parameters[1].value;
    return { change: model.parameters[1].value.map((x, i) => x - before[i]), norm: steps(events)[0].gradNorm };
  };
  const free = await change(0), clipped = await change(0.01), loose = await change(100);
  assert.equal(clipped.norm, free.norm);
  assert.ok(free.norm > 0.1, "the norm is reported before clipping");
  const factor = 0.01 / (free.norm + 1e-6);
  assertClose(clipped.change, free.change.map((x) => x * factor), { rtol: 1e-3, what: "clipped" }); // f32 cancellation
  assert.deepEqual(loose.change, free.change);
});

Deno.test("train() evaluates before, every eval_steps and after, and logs what it reports", async () => {
  await inTemporaryFolder(async (files) => {
    const evalRows = bigramRows(4, 5);
    const { events, result } = await trainBigram({ files, evalRows, settings: { maxSteps: 7, evalSteps: 3 } });
    const evals = events.flatMap((event) => event.type === "eval" ? [event] : []);
    assert.deepEqual(evals.map(({ step }) => step), [0, 3, 6, 7]);
    assert.equal(result.evalBefore, evals[0].loss);
    assert.equal(result.evalAfter, evals[3].loss);
    const lines = readLog(files.log);
    assert.deepEqual(
      lines.map(({ seconds: _, memory_bytes: __, ...line }) => line),
      steps(events).map(({ step, loss, gradNorm, learningRate, tokens, evalLoss }) => ({
        step,
        loss,
        grad_norm: gradNorm,
        learning_rate: learningRate,
        tokens,
        ...(evalLoss === undefined ? {} : { eval_loss: evalLoss }),
      })),
    );
    assert.ok(lines.every(({ memory_bytes }) => memory_bytes! > 1e6));
    assert.deepEqual(lines.flatMap(({ step, eval_loss }) => eval_loss === undefined ? [] : [step]), [3, 6, 7]);
  });
});

Deno.test("train() stops early without improvement and leaves the best parameters", async () => {
  await inTemporaryFolder(async (files) => {
    const model = bigramModel(), best: Float32Array[] = [];
    const losses = [3, 2, 1.5, 1.6, 1.49, 1.7];
    model.evaluate = () => {
      if (losses[0] === 1.5) best.push(...model.parameters.map(({ value }) => value.slice()));
      return Promise.resolve([{ loss: losses.shift()!, targets: 1 }]);
    };
    const early = {
      evalSteps: 2,
      earlyStoppingPatience: 2,
      earlyStoppingMinDelta: 0.05,
      saveSteps: 2,
      saveTotalLimit: 1,
    };
    const { events, result } = await trainBigram({
      model,
      files,
      evalRows: bigramRows(1),
      settings: { maxSteps: 20, learningRate: 0.05, ...early },
    });
    assert.deepEqual(
      { reason: result.reason, step: result.step, best: result.best, evalAfter: result.evalAfter },
      { reason: "early_stopping", step: 8, best: { step: 4, loss: 1.5 }, evalAfter: 1.5 },
    );
    assert.deepEqual(model.parameters.map(({ value }) => value), best);
    assert.ok(types(events).includes("restore"));
    assert.deepEqual(listCheckpoints(files.checkpoints).map(({ step }) => step), [4, 8]);
  });
});

Deno.test("train() keeps the newest save_total_limit checkpoints", async () => {
  await inTemporaryFolder(async (files) => {
    const { events } = await trainBigram({ files, settings: { maxSteps: 11, saveSteps: 2, saveTotalLimit: 3 } });
    assert.deepEqual(listCheckpoints(files.checkpoints).map(({ step }) => step), [8, 10, 11]);
    assert.equal(types(events).filter((type) => type === "checkpoint").length, 6);
  });
});

Deno.test("train() without save_steps writes no checkpoint unless interrupted", async () => {
  await inTemporaryFolder(async (files) => {
    await trainBigram({ files, settings: { maxSteps: 3, saveSteps: 0 } });
    assert.deepEqual(listCheckpoints(files.checkpoints), []);
    const controller = new AbortController();
    controller.abort();
    const { result } = await trainBigram({ files, signal: controller.signal, settings: { maxSteps: 3, saveSteps: 0 } });
    assert.deepEqual({ reason: result.reason, step: result.step }, { reason: "interrupted", step: 0 });
    assert.deepEqual(listCheckpoints(files.checkpoints).map(({ step }) => step), [0]);
  });
});

for (const [what, value] of [["loss", NaN], ["gradient", Infinity]] as const) {
  Deno.test(`train() stops at the step whose ${what} is ${value} and keeps what was good`, async () => {
    await inTemporaryFolder(async (files) => {
      let pass = 0;
      const model = bigramModel({
        onPass: () => ++pass === 5 && what === "loss" ? NaN : undefined,
      });
      if (what === "gradient") {
        const { accumulate } = model;
        model.accumulate = async (rows, options) => {
          const losses = await accumulate(rows, options);
          if (pass === 5) model.parameters[1].grad[3] = Infinity;
          return losses;
        };
      }
      const before: Float32Array[] = [];
      const error = await trainBigram({
        model,
        files,
        settings: { maxSteps: 9, saveSteps: 2, learningRate: 0.05, warmupSteps: 0, lrSchedulerType: "constant" },
        onEvent: (event) => {
          if (event.type === "step") before[0] = model.parameters[0].value.slice();
        },
      }).then(() => undefined, (error) => error);
      assert.ok(error instanceof UserError, String(error));
      assert.match(
        error.message,
        /^Training stopped at step 5: the (loss is NaN|gradient's norm is Infinity .*) at learning rate 0.05$/,
      );
      assert.match(error.hint!, /learning_rate \(it is 0.05; try 0.005\).*checkpoint of step 4 is good/);
      assert.deepEqual(model.parameters[0].value, before[0]);
      assert.deepEqual(listCheckpoints(files.checkpoints).map(({ step }) => step), [2, 4]);
      assert.equal(readLog(files.log).length, 4);
    });
  });
}

Deno.test("train() refuses windows without targets, no rows, no steps, and held-out rows without targets", async () => {
  const masked = bigramRows(8).map((row) => ({ ...row, targets: new Uint8Array(row.tokens.length) }));
  await assert.rejects(trainBigram({ rows: masked }), { name: "UserError", message: /No target token in the 8 rows/ });
  await assert.rejects(trainBigram({ rows: [] }), { name: "UserError", message: /the data has no rows/ });
  const nothing = { ...defaults, maxSteps: -1, numTrainEpochs: 0 };
  await assert.rejects(trainBigram({ settings: nothing }), { name: "UserError", exitCode: 2 });
  await assert.rejects(trainBigram({ evalRows: masked }), { name: "UserError", message: /NaN over 0 target tokens/ });
});

Deno.test("train() says in one line that it cannot write", async () => {
  await inTemporaryFolder(async (files) => {
    Deno.writeTextFileSync(files.checkpoints, "in the way");
    await assert.rejects(trainBigram({ files, settings: { maxSteps: 3 } }), { name: "UserError" });
  });
  await inTemporaryFolder(async ({ checkpoints, log }) => {
    const files = { checkpoints, log: `${log}/missing/log.jsonl` };
    await assert.rejects(trainBigram({ files }), { name: "UserError", message: /Cannot write .*log.jsonl/ });
  });
});
