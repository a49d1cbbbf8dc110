/**
 * Time and memory of a QLoRA step on a GPU: the shape of Llama 3.1 8B with random NF4 weights (or a smaller number of
 * its layers), r 16 on seven projections, 8-bit AdamW, rows of one length, every token a target.
 *
 *   deno run -A tests/bench/gpu_step.ts [--engine dawn] [--rows 2] [--length 256] [--keep 32] [--layers 32]
 *     [--steps 12] [--profile]
 *
 * --keep: layers that keep their values for the backward, 0: gradient checkpointing everywhere. Prints milliseconds a
 * step (median, least, most) after three to warm up, tokens a second and the memory of all buffers.
 */
import { parseArgs } from "node:util";
import { makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { defaultAdamw } from "../../lib/train/optimizer.ts";
import { type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { gpuLearner } from "../../lib/webgpu/learner.ts";
import { llama8b, randomWeights } from "../helpers/llama8b.ts";

const { values: flags } = parseArgs({
  options: {
    engine: { type: "string", default: "dawn" },
    rows: { type: "string", default: "2" },
    length: { type: "string", default: "256" },
    keep: { type: "string", default: "32" },
    layers: { type: "string", default: "32" },
    steps: { type: "string", default: "12" },
    profile: { type: "boolean", default: false },
  },
});
const config = { ...llama8b, layers: Number(flags.layers) };
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
const count = Number(flags.rows), length = Number(flags.length), tokens = count * length;
const rows = Array.from({ length: count }, (_, b) => ({
  tokens: Int32Array.from({ length }, (_, l) => (l * 7919 + b * 104729) % config.vocabSize),
  targets: Uint8Array.from({ length }, (_, l) => l > 0 ? 1 : 0),
}));
const learner = gpuLearner(executor, {
  ...{ parameters, kind: "adamw_8bit", settings: defaultAdamw },
  makeModel: (placeOf) =>
    makeTrainable({
      ...{ executor, config, weights, parameters, placeOf, loraScale: 1 },
      keepLayers: Number(flags.keep),
      headChunk: 512,
    }),
});
console.log(`loaded in ${((performance.now() - begun) / 1000).toFixed(1)} s`);

const times: number[] = [], losses: number[] = [];
const step = async (position: number) => {
  const start = performance.now();
  const { loss, gradNorm } = await learner.step(rows, {
    ...{ rowsPerPass: count, seed: 0, position, learningRate: 2e-4, maxGradNorm: 1 },
  });
  losses.push(loss);
  if (!Number.isFinite(gradNorm)) console.log(`gradient norm ${gradNorm}`);
  return performance.now() - start;
};
for (let i = 0; i < 3; i++) console.log(`warm-up step ${(await step(i)).toFixed(0)} ms, loss ${losses.at(-1)}`);
executor.profile?.reset();
for (let i = 0; i < Number(flags.steps); i++) times.push(await step(i));
const sorted = times.toSorted((a, b) => a - b), median = sorted[sorted.length >> 1];
console.log(
  `${count} x ${length}, ${flags.keep} of ${config.layers} layers kept: ${median.toFixed(1)} ms ` +
    `(${sorted[0].toFixed(1)} to ${sorted.at(-1)!.toFixed(1)}), ${(1000 * tokens / median).toFixed(0)} tokens/s, ` +
    `${(executor.buffers.peak() / 2 ** 30).toFixed(2)} GiB, losses ${losses[0].toFixed(4)} to ${
      losses.at(-1)!.toFixed(4)
    }`,
);
if (executor.profile) {
  const results = await executor.profile.result(), total = results.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`kernels ${(total / times.length).toFixed(1)} ms a step`);
  for (const { kernel, calls, ms, tflops, gbs } of results.slice(0, 40)) {
    console.log(
      `${(ms / times.length).toFixed(2).padStart(8)} ms ${String(calls / times.length).padStart(6)} calls ` +
        `${(1000 * ms / calls).toFixed(0).padStart(6)} us ${tflops.toFixed(1).padStart(7)} TFLOP/s ` +
        `${gbs.toFixed(0).padStart(5)} GB/s  ${kernel}`,
    );
  }
}
Deno.exit(0);
