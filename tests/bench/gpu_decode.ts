/**
 * Speed of decoding on a GPU: the shape of Llama 3.1 8B with random NF4 weights (or a smaller number of its layers),
 * head in f16, greedy answers to prompts of one length.
 *
 *   deno run -A tests/bench/gpu_decode.ts [--engine dawn] [--streams 1,4,8] [--context 128,2048] [--tokens 64]
 *     [--rank 0] [--temperature 0] [--top-p 1] [--layers 32] [--profile]
 *
 * --rank: of an adapter on seven projections, 0: none. Prints, for each number of streams and length of the prompts, the
 * milliseconds from one token of every stream to the next (median, least, most, after eight to warm up), tokens a second
 * of all streams, and the GB/s at which the median reads weights, head and cache, each once.
 */
import { parseArgs } from "node:util";
import { attachAdapter, makeParameters } from "../../lib/model/adapter.ts";
import { generate } from "../../lib/model/generate.ts";
import { modelTensors, projections } from "../../lib/model/names.ts";
import { type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { llama8b, randomWeights } from "../helpers/llama8b.ts";

const { values: flags } = parseArgs({
  options: {
    engine: { type: "string", default: "dawn" },
    streams: { type: "string", default: "1,4,8" },
    context: { type: "string", default: "128,2048" },
    tokens: { type: "string", default: "64" },
    rank: { type: "string", default: "0" },
    temperature: { type: "string", default: "0" },
    "top-p": { type: "string", default: "1" },
    layers: { type: "string", default: "32" },
    profile: { type: "boolean", default: false },
  },
});
const config = { ...llama8b, layers: Number(flags.layers) };
const gpu = await openGpu(flags.engine as GpuEngine);
const executor = createWebgpuExecutor(gpu, { profile: flags.profile });
console.log(executor.description);
const weights = randomWeights(executor, config), r = Number(flags.rank);
const settings = {
  ...{ r, lora_alpha: r, lora_dropout: 0, use_rslora: false, use_dora: false },
  ...{ target_modules: [...projections], init_lora_weights: true as const, seed: 3407 },
};
const adapter = r > 0
  ? await attachAdapter(makeParameters(config, settings), { executor, weights, config, settings })
  : undefined;

const warmUp = 8, count = Number(flags.tokens);
const element = executor.target.f16 ? 2 : 4;
/** Bytes of codes and their maxima, and of the head. */
const weightBytes = modelTensors(config).reduce((sum, { role, shape }) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return sum + (role === "linear" ? size / 2 + size / 64 : role === "head" ? size * element : 0);
}, 0);

async function measure(streams: number, context: number): Promise<void> {
  const prompts = Array.from(
    { length: streams },
    (_, b) => Int32Array.from({ length: context }, (_, l) => (l * 7919 + b * 104729) % config.vocabSize),
  );
  const options = {
    ...{ maxNewTokens: warmUp + count + 1, stopIds: [], temperature: Number(flags.temperature) },
    top_p: Number(flags["top-p"]),
  };
  const times: number[] = [], begun = performance.now();
  let last = begun, first = 0, step = 0;
  for await (const { row } of generate({ executor, config, weights, adapter }, prompts, options)) {
    if (row > 0) continue;
    const now = performance.now();
    if (step === 0) first = now - begun;
    if (step === warmUp) executor.profile?.reset();
    if (step > warmUp) times.push(now - last);
    last = now;
    step++;
  }
  executor.trim();
  const sorted = times.toSorted((a, b) => a - b), median = sorted[sorted.length >> 1];
  const middle = context + warmUp + count / 2;
  const cacheBytes = streams * middle * config.layers * 2 * config.kvHeads * config.headDim * element;
  console.log(
    `${streams} x ${context}: ${median.toFixed(2)} ms a token (${sorted[0].toFixed(2)} to ${
      sorted.at(-1)!.toFixed(2)
    }), ${(1000 * streams / median).toFixed(0)} tokens/s, ${
      ((weightBytes + cacheBytes) / median / 1e6).toFixed(0)
    } GB/s, first token after ${first.toFixed(0)} ms, ${(executor.buffers.peak() / 2 ** 30).toFixed(2)} GiB`,
  );
  if (!executor.profile) return;
  const results = await executor.profile.result(), total = results.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`kernels ${(total / count).toFixed(2)} ms a token`);
  for (const { kernel, calls, ms, gbs } of results.slice(0, 30)) {
    console.log(
      `${(ms / count).toFixed(3).padStart(8)} ms ${(calls / count).toFixed(1).padStart(6)} calls ` +
        `${(1000 * ms / calls).toFixed(1).padStart(7)} us ${gbs.toFixed(0).padStart(5)} GB/s  ${kernel}`,
    );
  }
}

for (const context of flags.context.split(",")) {
  for (const streams of flags.streams.split(",")) await measure(Number(streams), Number(context));
}
Deno.exit(0);
