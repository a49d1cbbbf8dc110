/**
 * Speed of the engine behind the server, on the CPU with SmolLM2-135M (or any model by name): greedy answers to several
 * requests at once, and the time that a prompt takes.
 *
 *   deno run -A tests/bench/serve_decode.ts [--model smollm2-135m] [--streams 1,8] [--tokens 64] [--prompt 512,1000]
 *     [--engine wasm] [--kernels] [--linear nf4] [--threads 0] [--profile PREFIX]
 *
 * --engine: wasm, as `ftl serve` takes it, --kernels without ONNX Runtime for prompts; or onnx, with its profile beside
 * PREFIX. --linear: as lib/model/weights.ts keeps weights: nf4, dequantised.
 *
 * Prints, for each number of streams, the milliseconds of a token of all of them (median, least) and tokens a second, then
 * the prompt's; and beside both the milliseconds of CPU that they took on all cores, which tell something on a busy
 * machine too.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { cacheFolder } from "../../lib/cli/terminal.ts";
import { fetchModel } from "../../lib/cli/pull.ts";
import { openModel } from "../../lib/model/source.ts";
import { type LoadOptions, loadWeights } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { createManyRows } from "../../lib/onnx/product.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { makeEngine } from "../../lib/serve/make_engine.ts";
import { request } from "../helpers/serving.ts";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m" },
    streams: { type: "string", default: "1,8" },
    tokens: { type: "string", default: "64" },
    prompt: { type: "string", default: "512,1000" },
    kernels: { type: "boolean", default: false },
    engine: { type: "string", default: "wasm" },
    linear: { type: "string", default: "nf4" },
    profile: { type: "string" },
    threads: { type: "string", default: "0" },
  },
});
const source = openModel(await fetchModel(flags.model)), { config } = source;
const threads = Number(flags.threads);
const executor = flags.engine === "wasm"
  ? await createWasmExecutor({ threads, manyRows: flags.kernels ? undefined : createManyRows({ threads }) })
  : createOnnxExecutor({ threads, profilePrefix: flags.profile });
const linear = flags.linear as LoadOptions["linear"];
const weights = loadWeights(source, executor, { linear, cacheDir: `${cacheFolder()}/weights` });
source.close();
const slots = Math.max(...flags.streams.split(",").map(Number));
const engine = makeEngine({ base: { executor, config, weights }, id: "base", slots, contextLength: 2048 });
console.log(`${executor.description}, ${flags.linear}`);

const prompt = (length: number, seed: number) =>
  Int32Array.from({ length }, (_, i) => (i * 7919 + seed * 104729) % config.vocabSize);

/** Milliseconds of the process on all cores. */
function cpu(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

let seed = 1;
async function answer(length: number, maxTokens: number): Promise<number[]> {
  const times: number[] = [];
  for await (const _ of engine.generate(request(prompt(length, seed++), { maxTokens }))) times.push(performance.now());
  return times;
}

const tokens = Number(flags.tokens);
await answer(16, 4);
for (const streams of flags.streams.split(",").map(Number)) {
  await Promise.all(Array.from({ length: streams }, () => answer(16, 4)));
  const before = cpu();
  const all = await Promise.all(Array.from({ length: streams }, () => answer(16, tokens)));
  // From the moment on at which all of them answer.
  const begun = Math.max(...all.map(([first]) => first));
  const times = all[0].filter((time) => time >= begun).map((time, i, list) => time - list[i - 1]).slice(1).sort((
    a,
    b,
  ) => a - b);
  const used = (cpu() - before) / tokens, median = times[times.length >> 1];
  console.log(
    `${streams} streams: ${median.toFixed(1)} ms a token (least ${times[0].toFixed(1)}), ${
      (1000 * streams / median).toFixed(0)
    } tokens/s (at best ${(1000 * streams / times[0]).toFixed(0)}), ${used.toFixed(1)} ms of CPU`,
  );
}
for (const length of flags.prompt.split(",").map(Number)) {
  const reads: number[] = [], read = cpu();
  for (let i = 0; i < 3; i++) {
    const begun = performance.now();
    const [first] = await answer(length, 1);
    reads.push(first - begun);
  }
  const used = (cpu() - read) / reads.length;
  // The last prompt once more: its slot still holds all but the last token of it.
  seed--;
  const begun = performance.now();
  const [first] = await answer(length, 1);
  const cached = first - begun, least = Math.min(...reads);
  console.log(
    `a prompt of ${length}: ${least.toFixed(0)} ms at best, ${(1000 * length / least).toFixed(0)} tokens/s, ${
      used.toFixed(0)
    } ms of CPU; again, cached: ${cached.toFixed(0)} ms`,
  );
}
await engine.close(0);
await executor.dispose();
