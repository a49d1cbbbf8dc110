/**
 * Speed of the engine behind the server on a GPU: the shape of Llama 3.1 8B with random NF4 weights (or a smaller number
 * of its layers), head in f16.
 *
 *   deno run -A tests/bench/gpu_serve.ts [--engine dawn] [--streams 1,8,16] [--prompts 512,1000] [--tokens 64]
 *     [--temperature 0] [--layers 32]
 *
 * Prints for each length of a prompt the milliseconds to its first token (median and least of five), the tokens a second
 * at which it was read, and the milliseconds to the first token of the same prompt again; then, for each number of
 * streams that answer prompts of 128 tokens, the milliseconds from token to token (median, least, most) and tokens a
 * second of all streams.
 */
import { parseArgs } from "node:util";
import { gpuChunks } from "../../lib/cli/serve_engine.ts";
import { makeEngine } from "../../lib/serve/make_engine.ts";
import { type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { llama8b, randomWeights } from "../helpers/llama8b.ts";
import { request } from "../helpers/serving.ts";

const { values: flags } = parseArgs({
  options: {
    engine: { type: "string", default: "dawn" },
    streams: { type: "string", default: "1,8,16" },
    prompts: { type: "string", default: "512,1000" },
    tokens: { type: "string", default: "64" },
    temperature: { type: "string", default: "0" },
    layers: { type: "string", default: "32" },
  },
});
const config = { ...llama8b, layers: Number(flags.layers) }, temperature = Number(flags.temperature);
const executor = createWebgpuExecutor(await openGpu(flags.engine as GpuEngine));
console.log(executor.description);
const weights = randomWeights(executor, config), numbers = (text: string) => text.split(",").map(Number);
const slots = Math.max(...numbers(flags.streams));
const engine = makeEngine({
  ...{ base: { executor, config, weights }, id: "base", slots, contextLength: 2048, ...gpuChunks },
});

let seed = 0;
const freshPrompt = (length: number) => {
  const own = seed++;
  return Int32Array.from({ length }, (_, i) => (i * 7919 + own * 104729) % config.vocabSize);
};

/** When each token came, beginning with the request. */
async function answer(prompt: Int32Array, maxTokens: number): Promise<number[]> {
  const times = [performance.now()];
  const options = { maxTokens, temperature, seed };
  for await (const _ of engine.generate(request(prompt, options))) times.push(performance.now());
  return times;
}

const sorted = (list: number[]) => list.toSorted((a, b) => a - b), middle = (list: number[]) => list[list.length >> 1];

for (const length of numbers(flags.prompts)) {
  const first: number[] = [], again: number[] = [];
  for (let i = 0; i < 7; i++) {
    const prompt = freshPrompt(length);
    for (const list of [first, again]) {
      const [begun, came] = await answer(prompt, 1);
      if (i >= 2) list.push(came - begun);
    }
  }
  const fresh = sorted(first), known = sorted(again);
  console.log(
    `a prompt of ${length}: first token after ${middle(fresh).toFixed(1)} ms (least ${fresh[0].toFixed(1)}), ` +
      `${(1000 * length / middle(fresh)).toFixed(0)} tokens/s; again after ${middle(known).toFixed(1)} ms`,
  );
}
for (const streams of numbers(flags.streams)) {
  const count = Number(flags.tokens) + 8;
  const all = await Promise.all(Array.from({ length: streams }, () => answer(freshPrompt(128), count)));
  // From the moment on at which all of them answer, after some tokens to warm up.
  const begun = Math.max(...all.map((times) => times[8])), own = all[0].filter((time) => time >= begun);
  const steps = sorted(own.slice(1).map((time, i) => time - own[i])), median = middle(steps);
  const mean = (own.at(-1)! - own[0]) / (own.length - 1);
  console.log(
    `${streams} streams: ${median.toFixed(2)} ms a token (${steps[0].toFixed(2)} to ${steps.at(-1)!.toFixed(2)}, ` +
      `mean ${mean.toFixed(2)}), ${(1000 * streams / mean).toFixed(0)} tokens/s`,
  );
}
await engine.close(0);
Deno.exit(0);
