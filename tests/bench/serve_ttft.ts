/**
 * Time to the first token that a client of `ftl serve` sees: of a prompt that the server has never seen, and of the same
 * prompt again, whose keys and values are still there.
 *
 *   deno run -A tests/bench/serve_ttft.ts [--model smollm2-135m] [--prompt 1000] [--times 5]
 */
import { parseArgs } from "node:util";
import { post } from "../helpers/http_server.ts";
import { startServe } from "../helpers/served.ts";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m" },
    prompt: { type: "string", default: "1000" },
    times: { type: "string", default: "5" },
  },
});
const length = Number(flags.prompt), times = Number(flags.times);
const server = await startServe([
  ...[flags.model, "--port", "0", "--engine", "onnx", "--context", String(Math.max(2048, length + 64))],
]);

/** Milliseconds from the request to the first event with text, and the tokens that were in the cache. */
async function firstToken(prompt: number[]): Promise<{ time: number; cached: number }> {
  const began = performance.now();
  const response = await post(`${server.url}/v1/completions`, {
    ...{ prompt, max_tokens: 2, temperature: 0, stream: true, stream_options: { include_usage: true } },
  });
  let text = "", time = 0;
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (time === 0 && /"text":"[^"]/.test(text)) time = performance.now() - began;
  }
  return { time, cached: Number(/"cached_tokens":(\d+)/.exec(text)![1]) };
}

const prompts = Array.from(
  { length: times + 1 },
  (_, n) => Array.from({ length }, (_, i) => 1000 + (i * 7919 + n * 104729) % 40_000),
);
// The first of all waits for what is made once.
await firstToken(prompts[times]);
const fresh: number[] = [], again: number[] = [];
for (const prompt of prompts.slice(0, times)) {
  const [first, second] = [await firstToken(prompt), await firstToken(prompt)];
  if (first.cached !== 0 || second.cached !== length - 1) throw new Error(`cached: ${first.cached}, ${second.cached}`);
  fresh.push(first.time);
  again.push(second.time);
}
await server.stop();
const show = (all: number[]) => {
  const sorted = all.toSorted((a, b) => a - b);
  return `${sorted[times >> 1].toFixed(0)} ms (least ${sorted[0].toFixed(0)})`;
};
console.log(`first token of a prompt of ${length}: ${show(fresh)}; of the same prompt again: ${show(again)}`);
