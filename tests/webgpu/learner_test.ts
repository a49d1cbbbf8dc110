/** The GPU's learner on a tiny model: losses of the CPU's, overflow, the device lost in the middle of a run. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { UserError } from "../../lib/errors.ts";
import { initMagnitudes, loraScale, makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Row, Trainable } from "../../lib/model/trainable.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Executor } from "../../lib/ops.ts";
import { type Checkpoint, listCheckpoints, readCheckpoint, writeCheckpoint } from "../../lib/train/checkpoint.ts";
import { hostLearner, type Learner } from "../../lib/train/learner.ts";
import { train } from "../../lib/train/loop.ts";
import { defaultAdamw, makeOptimizer, type OptimizerName } from "../../lib/train/optimizer.ts";
import type { TrainOptions, TrainSettings } from "../../lib/train/settings.ts";
import { makeCommands } from "../../lib/webgpu/commands.ts";
import { type Gpu, type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor, type WebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { gpuLearner } from "../../lib/webgpu/learner.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenFolder } from "../helpers/golden_models.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { tinyVocabulary } from "../helpers/tiny_folders.ts";
import { gpuTest } from "../helpers/webgpu.ts";

const lengths = [24, 17, 9, 30];
const rows: Row[] = lengths.map((length, n) => ({
  tokens: Int32Array.from({ length }, (_, t) => 3 + (n * 37 + t * (n + 5)) % (tinyVocabulary - 3)),
  targets: Uint8Array.from({ length }, (_, t) => t >= 4 ? 1 : 0),
}));

interface Variant {
  kind?: OptimizerName;
  dora?: boolean;
  dropout?: number;
  keepLayers?: number;
  /** Stands between the model and the learner. */
  wrap?: (model: Trainable) => Trainable;
}

/** A learner of the tiny Llama on an executor; `gpu` where that is a GPU's. */
async function learnerOn(executor: Executor, gpu: WebgpuExecutor | undefined, variant: Variant = {}): Promise<Learner> {
  const { kind = "adamw_8bit", dora = false, dropout = 0, keepLayers = 2, wrap = (model) => model } = variant;
  const source = openModel(`${goldenFolder}llama_tied`), { config } = source;
  const weights = loadWeights(source, executor, { linear: "nf4" });
  source.close();
  const lora = {
    ...{ r: 8, lora_alpha: 16, lora_dropout: dropout, use_rslora: false, use_dora: dora, seed: 1 },
    ...{ target_modules: [...projections], init_lora_weights: "hash" as const },
  };
  const parameters = makeParameters(config, lora);
  await initMagnitudes(parameters, { executor, weights, config, settings: lora });
  const shared = { executor, config, weights, parameters, keepLayers, headChunk: 32 };
  const options = { ...shared, loraScale: loraScale(lora), loraDropout: dropout };
  if (!gpu) return hostLearner(makeTrainable(options), makeOptimizer(kind, parameters, defaultAdamw));
  return gpuLearner(gpu, {
    ...{ parameters, kind, settings: defaultAdamw },
    makeModel: (placeOf) => wrap(makeTrainable({ ...options, placeOf })),
  });
}

const windowOf = (step: number) => ({ seed: 7, position: 4 * step, learningRate: 0.01, maxGradNorm: 1 });

async function threeSteps(learner: Learner, { rowsPerPass }: { rowsPerPass: number }) {
  const losses: number[] = [], norms: number[] = [];
  for (let step = 0; step < 3; step++) {
    const result = await learner.step(rows, { rowsPerPass, ...windowOf(step) });
    losses.push(result.loss);
    norms.push(result.gradNorm);
  }
  return { losses, norms };
}

async function onCpu(variant: Variant, rowsPerPass: number) {
  const executor = createOnnxExecutor({ threads: 1 });
  try {
    return await threeSteps(await learnerOn(executor, undefined, variant), { rowsPerPass });
  } finally {
    await executor.dispose();
  }
}

const variants: [what: string, variant: Variant, rowsPerPass: number][] = [
  ["8-bit AdamW, the window in one pass", {}, 4],
  ["32-bit AdamW, layers computed again, two passes", { kind: "adamw_torch", keepLayers: 0 }, 2],
  ["DoRA with dropout, a row a pass", { dora: true, dropout: 0.1, keepLayers: 1 }, 1],
];

for (const [what, variant, rowsPerPass] of variants) {
  gpuTest(`gpuLearner() has the losses of the CPU's: ${what}`, async (gpu) => {
    const expected = await onCpu(variant, rowsPerPass);
    for (const half of [false, true]) {
      const executor = createWebgpuExecutor(gpu, { half });
      const { losses, norms } = await threeSteps(await learnerOn(executor, executor, variant), { rowsPerPass });
      await executor.dispose();
      const name = half ? "f16" : "f32";
      assertClose(losses, expected.losses, { rtol: half ? 1e-2 : 1e-4, atol: 0, what: `losses, ${name}` });
      assertClose(norms, expected.norms, { rtol: half ? 2e-2 : 2e-3, atol: 0, what: `norms, ${name}` });
    }
  });
}

gpuTest("gpuLearner() halves the scale of the loss and takes the window again after an overflow", async (gpu) => {
  for (const half of [true, false]) {
    const executor = createWebgpuExecutor(gpu, { half }), scales: number[] = [];
    const learner = await learnerOn(executor, executor, {
      wrap: (model) => ({
        ...model,
        accumulate(pass, options) {
          scales.push(options.scale);
          const factor = scales.length <= 2 ? 2 ** 126 : 1;
          return model.accumulate(pass, { ...options, scale: factor * options.scale });
        },
      }),
    });
    const before = learner.parameters.map(({ value }) => value.slice());
    const { loss, gradNorm } = await learner.step(rows, { rowsPerPass: 4, ...windowOf(0) });
    await learner.pull();
    assert.ok(Number.isFinite(loss));
    if (half) {
      assert.deepEqual(scales.map((scale) => scale / scales[0]), [1, 1 / 2, 1 / 4]);
      assert.ok(gradNorm > 0 && gradNorm < 100, `${gradNorm}`);
      assert.equal(learner.optimizer.state().step, 1);
    } else {
      // Nothing to halve: the numbers themselves are at fault, and nothing was changed.
      assert.equal(scales.length, 1);
      assert.ok(!Number.isFinite(gradNorm), `${gradNorm}`);
      assert.equal(learner.optimizer.state().step, 0);
      assert.deepEqual(learner.parameters.map(({ value }) => value), before);
    }
    await executor.dispose();
  }
});

const runSettings: TrainSettings = {
  ...{ maxSteps: 4, numTrainEpochs: 0, perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 1 },
  ...{ learningRate: 0.01, lrSchedulerType: "constant", warmupSteps: 0, maxGradNorm: 1, seed: 0 },
  ...{ optim: "adamw_8bit", adamw: defaultAdamw },
  ...{ evalSteps: 0, earlyStoppingPatience: 0, saveSteps: 1, saveTotalLimit: 2 },
};

/** A run of `runSettings` on a learner, its checkpoints in a folder. */
function trainIn(folder: string, learner: Learner, options: Partial<TrainOptions> = {}) {
  return train({
    learner,
    rows: rows.length,
    rowAt: (position) => rows[position % rows.length],
    rowsPerPass: 4,
    settings: runSettings,
    files: { checkpoints: join(folder, "checkpoints"), log: join(folder, "log.jsonl") },
    ...options,
  });
}

/** What a run left: the factors that its passes were given, and its last checkpoint. */
interface Trace {
  scales: number[];
  last: Checkpoint;
}

/** A run in f16 whose first `overflows` passes overflow. */
async function tracedRun(gpu: Gpu, folder: string, { overflows = 0, resume = false } = {}): Promise<Trace> {
  const executor = createWebgpuExecutor(gpu, { half: true }), scales: number[] = [];
  const learner = await learnerOn(executor, executor, {
    wrap: (model) => ({
      ...model,
      accumulate(pass, options) {
        scales.push(options.scale);
        const factor = scales.length <= overflows ? 2 ** 126 : 1;
        return model.accumulate(pass, { ...options, scale: factor * options.scale });
      },
    }),
  });
  await trainIn(folder, learner, { resume });
  await executor.dispose();
  return { scales, last: readCheckpoint(listCheckpoints(join(folder, "checkpoints")).at(-1)!.path) };
}

gpuTest("the scale of the loss is saved: a resumed run takes the same bits, also after a halving", async (gpu) => {
  await inTempFolder(async (folder) => {
    const whole = await tracedRun(gpu, folder, { overflows: 2 });
    const [first] = whole.scales;
    assert.deepEqual(whole.scales.map((scale) => scale / first), [1, 1 / 2, 1 / 4, 1 / 4, 1 / 4, 1 / 4]);
    assert.deepEqual(whole.last.optimizer.lossScale, { factor: 2 ** 12, calm: 4 });
    const removeLast = () => Deno.removeSync(listCheckpoints(join(folder, "checkpoints")).at(-1)!.path);
    removeLast();
    const resumed = await tracedRun(gpu, folder, { resume: true });
    assert.deepEqual(resumed.scales.map((scale) => scale / first), [1 / 4]);
    assert.deepEqual(resumed.last, whole.last);

    // A checkpoint of the CPU's, or of before the scale was saved: it begins anew.
    removeLast();
    const { path, state, values, optimizer } = readCheckpoint(
      listCheckpoints(join(folder, "checkpoints")).at(-1)!.path,
    );
    const parameters = Array.from(
      values,
      ([name, value]) => ({ name, shape: [value.length] as [number], value, grad: value }),
    );
    Deno.removeSync(path);
    writeCheckpoint(join(folder, "checkpoints"), {
      state,
      parameters,
      optimizer: { ...optimizer, lossScale: undefined },
    });
    const anew = await tracedRun(gpu, folder, { resume: true });
    assert.deepEqual(anew.scales.map((scale) => scale / first), [1]);
    assert.deepEqual(anew.last.optimizer.lossScale, { factor: 2 ** 14, calm: 1 });
  });
});

/** A run on a device of its own that fails after its second checkpoint: in one line, with that checkpoint whole. */
async function failingRun(
  engine: GpuEngine,
  { fail, ...options }: Partial<TrainOptions> & { fail: (gpu: Gpu) => void },
): Promise<UserError> {
  let found: unknown;
  await inTempFolder(async (folder) => {
    const opened = await openGpu(engine), gpu = { ...opened, limits: { ...opened.limits } };
    const executor = createWebgpuExecutor(gpu);
    const run = trainIn(folder, await learnerOn(executor, executor), {
      ...options,
      onEvent: (event) => event.type === "checkpoint" && event.step === 2 && fail(gpu),
    });
    await assert.rejects(run, (error) => (found = error, true));
    const checkpoints = listCheckpoints(join(folder, "checkpoints"));
    assert.deepEqual(checkpoints.map(({ step }) => step), [1, 2]);
    assert.equal(readCheckpoint(checkpoints[1].path).state.step, 2);
  });
  assert.ok(found instanceof UserError, String((found as Error).stack));
  assert.ok(!found.message.includes("\n"), found.message);
  return found;
}

gpuTest("a device that is lost ends the run in one line; the last checkpoint is whole", async (_gpu, engine) => {
  const { message, hint } = await failingRun(engine, { fail: (gpu) => gpu.device.destroy() });
  assert.match(message, /^The GPU was lost: ./);
  assert.match(hint!, /--resume/);
});

gpuTest("a driver out of memory ends the run in one line; the last checkpoint is whole", async (gpu, engine) => {
  // Lavapipe hands out more than there is; what it refuses is a buffer of all that Dawn allows.
  if (gpu.software && engine === "webgpu") return;
  const taken: GPUBuffer[] = [];
  const { message, hint } = await failingRun(engine, {
    fail({ device, limits: { maxBufferSize: size } }) {
      // A tebibyte: no card has it.
      const count = Math.ceil(2 ** 40 / size), usage = GPUBufferUsage.STORAGE;
      for (let i = 0; i < count; i++) taken.push(device.createBuffer({ size, usage }));
    },
  });
  for (const buffer of taken) buffer.destroy();
  assert.match(message, /has not enough free memory: ./);
  assert.match(hint!, /max_memory/);
});

gpuTest("rows that need a larger buffer than the device has end the run in one line", async (_gpu, engine) => {
  const tokens = new Int32Array(200).fill(5), long: Row = { tokens, targets: new Uint8Array(200).fill(1, 1) };
  const { message, hint } = await failingRun(engine, {
    rows: 16,
    rowAt: (position) => position < 8 ? rows[position % rows.length] : long,
    fail: ({ limits }) => void (limits.maxBufferSize = 2 ** 16),
  });
  assert.match(message, /^A tensor of \d+ bytes is larger than .+ allows \(65536\)$/);
  assert.match(hint!, /max_length/);
});

gpuTest("a kernel that the driver refuses is named in one line; a tensor that is too large as well", async (gpu) => {
  const { pipelines } = makeCommands(gpu);
  const dispatch = { kernel: "fill", constants: { Y: "no_such_type" }, params: [], tensors: [] };
  await assert.rejects(pipelines.prepare([{ ...dispatch, grid: [1, 1, 1] }]), (error: UserError) => {
    assert.ok(error instanceof UserError, String(error.stack));
    assert.match(error.message, /^The driver refuses the kernel fill: [^\n]+$/);
    return true;
  });
  const executor = createWebgpuExecutor(gpu);
  assert.throws(() => executor.allocate([gpu.limits.maxBufferSize, 2], "f32"), UserError);
  await executor.dispose();
  gpu.check();
});
