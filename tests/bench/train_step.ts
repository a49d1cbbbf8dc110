/**
 * Time and memory of a QLoRA step on the CPU, at the reference run's shape: SmolLM2-135M, 8 rows (about 727 tokens), r 16
 * on seven projections, 8-bit AdamW, and beside it the f32 matrix products of this machine in the same run.
 *
 *   deno run -A tests/bench/train_step.ts [--steps 12] [--memory 1] [--threads 2]
 *
 * The same of any model, with rows of random tokens (random_checkpoint.ts makes a folder of a real model's shape; the
 * weights are quantised into the cache folder first, where it has none):
 *
 *   deno run -A tests/bench/train_step.ts --model FOLDER --cache FOLDER --rows 2 --length 128 --steps 3 --memory 8
 *
 * Prints time and peak memory of quantising, where that had to be done (--steps 0: nothing else), milliseconds a step
 * (median), the share of the matrix-product ceiling, and the process's peak memory.
 */
import { parseArgs } from "node:util";
import { fetchModel } from "../../lib/cli/pull.ts";
import { loraScale, makeParameters } from "../../lib/model/adapter.ts";
import type { ModelConfig } from "../../lib/model/config.ts";
import { projections, projectionShape } from "../../lib/model/names.ts";
import { memoryPlan } from "../../lib/model/plan.ts";
import { openModel } from "../../lib/model/source.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { loadWeights, nf4WeightBytes } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Segment } from "../../lib/ops.ts";
import { hostLearner } from "../../lib/train/learner.ts";
import { defaultAdamw, makeOptimizer } from "../../lib/train/optimizer.ts";
import { goldenPath } from "../helpers/golden.ts";
import { randomFloats } from "../helpers/random.ts";

const { values: flags } = parseArgs({
  options: {
    ...{ steps: { type: "string" }, memory: { type: "string" }, threads: { type: "string" } },
    products: { type: "string" },
    ...{ model: { type: "string" }, cache: { type: "string" }, rows: { type: "string" }, length: { type: "string" } },
  },
});
const steps = Number(flags.steps ?? 12), windowRows = Number(flags.rows ?? 8);
const begun = performance.now();

const executor = createOnnxExecutor({ threads: Number(flags.threads ?? 0) || undefined });
if (flags.products) {
  console.log(JSON.stringify(await runProducts(flags.products.split(",").map(Number))));
  Deno.exit();
}

const source = openModel(flags.model ?? await fetchModel("smollm2-135m")), { config } = source;
const tokensOfRows = flags.length === undefined ? goldenRows() : randomRows(2 * windowRows, Number(flags.length));
const rows = tokensOfRows.map((tokens) => ({
  tokens: Int32Array.from(tokens),
  targets: Uint8Array.from(tokens, (_, t) => t > 0 ? 1 : 0),
}));
let quantising = false;
const weights = loadWeights(source, executor, {
  linear: "nf4",
  cacheDir: flags.cache,
  progress(_done, _total, what) {
    if (quantising && what === "loading") {
      console.log(`quantised in ${seconds(performance.now() - begun)}, peak memory ${peakMiB().toFixed(0)} MiB`);
      if (steps === 0) Deno.exit();
    }
    quantising = what === "quantising";
  },
});
const settings = {
  ...{ r: 16, lora_alpha: 16, lora_dropout: 0, use_rslora: false, use_dora: false },
  ...{ target_modules: [...projections], init_lora_weights: "hash" as const, seed: 3407 },
};
const parameters = makeParameters(config, settings);
const windows = [rows.slice(0, windowRows), rows.slice(windowRows, 2 * windowRows)];
const lengths = windows.map((window) => window.reduce((sum, { tokens }) => sum + tokens.length, 0));
const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
const plan = memoryPlan({
  config,
  weightBytes: nf4WeightBytes(source),
  trained: parameters.reduce((sum, { value }) => sum + value.length, 0),
  stateBytes: 2,
  rankSum: settings.r * projections.length,
  windowRows,
  passTokens: (count) => ({ tokens: Math.max(...lengths) * count / windowRows, longest }),
  budget: Number(flags.memory ?? 1) * 2 ** 30,
  checkpointing: "auto",
});
const { keepLayers, headChunk, rowsPerPass } = plan;
const model = makeTrainable({
  ...{ executor, config, weights, parameters, keepLayers, headChunk },
  loraScale: loraScale(settings),
});
const learner = hostLearner(model, makeOptimizer("adamw_8bit", parameters, defaultAdamw));
const loaded = performance.now() - begun;

const tokens = (lengths[0] + lengths[1]) / 2;
const times: number[] = [], rates: Record<string, number[]> = {};
for (let step = 0; step < steps; step++) {
  const start = performance.now();
  const options = { rowsPerPass, seed: 0, position: 0, learningRate: 1e-4, maxGradNorm: 0 };
  await learner.step(windows[step % 2], options);
  times.push(performance.now() - start);
  for (const [product, list] of Object.entries(await measureProducts())) (rates[product] ??= []).push(...list);
}
const peak = peakMiB(), ceiling = Math.max(...Object.values(rates).map(median));

const flop = stepFlop(config, tokens);
const ms = median(times.slice(steps > 4 ? 2 : steps > 1 ? 1 : 0)), rate = flop / ms / 1e6;
console.log([
  executor.description,
  `loading ${seconds(loaded)}, first step ${seconds(times[0])}`,
  `step of ${tokens} tokens: ${ms.toFixed(0)} ms median, ${Math.min(...times).toFixed(0)} best ` +
  `(${keepLayers} of ${config.layers} layers kept, ${rowsPerPass} rows a pass)`,
  `${(flop / 1e12).toFixed(3)} TFLOP a step: ${rate.toFixed(0)} GFLOP/s, ` +
  `${(100 * rate / ceiling).toFixed(0)} % of the f32 products' ${ceiling.toFixed(0)} GFLOP/s`,
  `peak memory ${peak.toFixed(0)} MiB, planned ${(plan.bytes / 2 ** 20).toFixed(0)} MiB`,
].join("\n"));
await executor.dispose();

/** Most that this process has held in memory, MiB. */
function peakMiB(): number {
  const peak = /VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync("/proc/self/status"));
  return peak ? Number(peak[1]) / 1024 : NaN;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function goldenRows(): number[][] {
  return JSON.parse(Deno.readTextFileSync(goldenPath("smollm2_16rows_adamw.json"))).tokens;
}

function randomRows(count: number, length: number): number[][] {
  const token = (x: number) => Math.floor((x + 1) / 2 * config.vocabSize);
  return Array.from({ length: count }, (_, row) => Array.from(randomFloats(length, row), token));
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b), half = (sorted.length - 1) / 2;
  return (sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2;
}

/** Multiply-adds of the frozen model, counted twice: forward and input gradients of layers and head. LoRA is extra work. */
function stepFlop(config: ModelConfig, tokens: number): number {
  const layer = projections.reduce((sum, name) => sum + projectionShape(config, name).reduce((a, b) => a * b), 0);
  return 2 * 2 * tokens * (config.layers * layer + config.vocabSize * config.hiddenSize);
}

/**
 * GFLOP/s of the model's f32 products by name, in a process with memory of its own: after every step, so that a machine
 * whose speed changes within minutes gives both figures at the same speeds.
 */
async function measureProducts(): Promise<Record<string, number[]>> {
  const { hiddenSize: D, intermediateSize: F } = config;
  const args = ["run", "-A", "--no-check", import.meta.filename!, "--products", `${Math.round(tokens)},${D},${F}`];
  if (flags.threads) args.push("--threads", flags.threads);
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The products [T, I] x [O, I]^T and [T, O] x [O, I] of a model's widths, a second each: GFLOP/s of every run. */
async function runProducts([T, D, F]: number[]): Promise<Record<string, number[]>> {
  const rates: Record<string, number[]> = {};
  for (const [O, I] of [[F, D], [D, F], [D, D]]) {
    const inputs = {
      x: executor.tensor(randomFloats(T * I, 1), [T, I]),
      dy: executor.tensor(randomFloats(T * O, 2), [T, O]),
      w: executor.tensor(randomFloats(O * I, 3), [O, I]),
    };
    const forward: Segment = { key: "forward", build: (ops, { x, w }) => ({ y: ops.linear(x, w) }) };
    const backward: Segment = { key: "backward", build: (ops, { dy, w }) => ({ y: ops.linearBackward(dy, w) }) };
    for (const segment of [forward, backward]) {
      const list: number[] = rates[`${segment.key} ${O}x${I}`] = [];
      for (let i = 0, begin = performance.now(); i < 20 && (i < 3 || performance.now() - begin < 1000); i++) {
        const start = performance.now();
        const { y } = await executor.run(segment, inputs);
        if (i > 0) list.push(2 * T * O * I / (performance.now() - start) / 1e6);
        executor.release(y);
      }
    }
  }
  return rates;
}
