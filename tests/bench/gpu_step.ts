/**
 * Time and memory of a QLoRA step on a GPU: the shape of Llama 3.1 8B with random NF4 weights (or a smaller number of
 * its layers), r 16 on seven projections, 8-bit AdamW, rows of one length, every token a target.
 *
 *   deno run -A tests/bench/gpu_step.ts [SHAPE ...] [--engine dawn] [--layers 32] [--steps 12] [--profile]
 *
 * SHAPE is rows x length, and behind a colon how many layers keep their values for the backward, all of them unless it
 * says so, 0: gradient checkpointing everywhere; default 2x256. "growth" stands for rows of 128 to 16,384 tokens. Prints
 * for each, after three steps to warm up, milliseconds a step (median, least, most), tokens a second and the most memory
 * of all buffers; with --profile also the time of each kernel.
 */
import { parseArgs } from "node:util";
import { makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { defaultAdamw } from "../../lib/train/optimizer.ts";
import { type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor, type WebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { gpuLearner } from "../../lib/webgpu/learner.ts";
import { llama8b, randomWeights } from "../helpers/llama8b.ts";

const growth = ["1x128", "1x256", "1x512", "1x1024", "1x2048", "1x4096:0", "1x8192:0", "1x16384:0"];
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engine: { type: "string", default: "dawn" },
    layers: { type: "string", default: "32" },
    steps: { type: "string", default: "12" },
    profile: { type: "boolean", default: false },
  },
});
const config = { ...llama8b, layers: Number(flags.layers) };
const shapes = (positionals.length > 0 ? positionals : ["2x256"]).flatMap((text) => text === "growth" ? growth : text)
  .map((text) => {
    const [, count, length, keep] = /^(\d+)x(\d+)(?::(\d+))?$/.exec(text) ?? [];
    if (count === undefined) throw new Error(`${text} is no shape like 2x256 or 2x2048:0`);
    return { count: Number(count), length: Number(length), keep: Number(keep ?? config.layers) };
  });

const gpu = await openGpu(flags.engine as GpuEngine);
const executor = createWebgpuExecutor(gpu, { profile: flags.profile });
console.log(executor.description);
const begun = performance.now();
const weights = randomWeights(executor, config);
const settings = {
  ...{ r: 16, lora_alpha: 16, lora_dropout: 0, use_rslora: false, use_dora: false },
  ...{ target_modules: [...projections], init_lora_weights: true as const, seed: 3407 },
};
const parameters = makeParameters(config, settings);
let keepLayers = config.layers;
const learner = gpuLearner(executor, {
  ...{ parameters, kind: "adamw_8bit", settings: defaultAdamw },
  makeModel(placeOf) {
    const model = () =>
      makeTrainable({
        ...{ executor, config, weights, parameters, placeOf, loraScale: 1 },
        ...{ keepLayers, headChunk: 512 },
      });
    // Another number of kept layers is another model on the same parameters.
    let kept = keepLayers, made = model();
    const current = () => {
      if (kept !== keepLayers) [kept, made] = [keepLayers, model()];
      return made;
    };
    return {
      parameters,
      accumulate: (rows, options) => current().accumulate(rows, options),
      evaluate: (rows) => current().evaluate(rows),
    };
  },
});
console.log(`loaded in ${((performance.now() - begun) / 1000).toFixed(1)} s`);

let position = 0;
for (const { count, length, keep } of shapes) {
  keepLayers = keep;
  executor.trim();
  const rows = Array.from({ length: count }, (_, b) => ({
    tokens: Int32Array.from({ length }, (_, l) => (l * 7919 + b * 104729) % config.vocabSize),
    targets: Uint8Array.from({ length }, (_, l) => l > 0 ? 1 : 0),
  }));
  const times: number[] = [], losses: number[] = [];
  let bytes = 0;
  const step = async () => {
    const start = performance.now();
    const { loss, gradNorm } = await learner.step(rows, {
      ...{ rowsPerPass: count, seed: 0, position: position++, learningRate: 2e-4, maxGradNorm: 1 },
    });
    losses.push(loss);
    bytes = Math.max(bytes, executor.buffers.bytes());
    if (!Number.isFinite(gradNorm)) console.log(`gradient norm ${gradNorm}`);
    return performance.now() - start;
  };
  const warmUp = [await step(), await step(), await step()];
  executor.profile?.reset();
  for (let i = 0; i < Number(flags.steps); i++) times.push(await step());
  const sorted = times.toSorted((a, b) => a - b), median = sorted[sorted.length >> 1];
  console.log(
    `${count} x ${length}, ${keep} of ${config.layers} layers kept: ${median.toFixed(1)} ms ` +
      `(${sorted[0].toFixed(1)} to ${sorted.at(-1)!.toFixed(1)}; first ${warmUp[0].toFixed(0)}), ` +
      `${(1000 * count * length / median).toFixed(0)} tokens/s, ${(bytes / 2 ** 30).toFixed(2)} GiB, ` +
      `losses ${losses[0].toFixed(4)} to ${losses.at(-1)!.toFixed(4)}`,
  );
  if (executor.profile) await printProfile(executor.profile, times.length);
}
Deno.exit(0);

async function printProfile(profile: NonNullable<WebgpuExecutor["profile"]>, steps: number): Promise<void> {
  const results = await profile.result(), total = results.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`kernels ${(total / steps).toFixed(1)} ms a step`);
  for (const { kernel, calls, ms, tflops, gbs } of results.slice(0, 40)) {
    console.log(
      `${(ms / steps).toFixed(2).padStart(8)} ms ${String(calls / steps).padStart(6)} calls ` +
        `${(1000 * ms / calls).toFixed(0).padStart(6)} us ${tflops.toFixed(1).padStart(7)} TFLOP/s ` +
        `${gbs.toFixed(0).padStart(5)} GB/s  ${kernel}`,
    );
  }
}
