/** Generation checked against itself without a cache, on any executor. */
import assert from "node:assert/strict";
import { attachAdapter, initMagnitudes, type LoraSettings, makeParameters } from "../../lib/model/adapter.ts";
import { batchValues, makeBatch } from "../../lib/model/batch.ts";
import { embedSegment, layerInferenceSegment, logitsSegment } from "../../lib/model/forward.ts";
import { generate, type Generator } from "../../lib/model/generate.ts";
import { openModel } from "../../lib/model/source.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import type { Executor } from "../../lib/ops.ts";
import { randomNumbers } from "./finite_difference.ts";
import { goldenFolder } from "./golden_models.ts";

/** A golden model ready to answer, with a random adapter when settings are given. */
export async function goldenGenerator(
  name: string,
  options: { executor: Executor; lora?: LoraSettings; linear?: "f32" | "nf4" },
): Promise<Generator> {
  const { executor, lora, linear = "f32" } = options;
  const source = openModel(goldenFolder + name), { config } = source;
  const weights = loadWeights(source, executor, { linear });
  source.close();
  if (!lora) return { executor, config, weights };
  const parameters = makeParameters(config, lora), context = { executor, weights, config, settings: lora };
  await initMagnitudes(parameters, context);
  parameters.forEach(({ name, value }, i) => {
    if (name.includes("lora_B")) value.set(randomNumbers(value.length, i).map((x) => 0.05 * x));
    if (name.includes("magnitude")) value.forEach((x, j) => value[j] = x * (1 + (j % 3) / 10));
  });
  return { executor, config, weights, adapter: await attachAdapter(parameters, context) };
}

/** Each row's tokens, collected. */
export async function collect(...args: Parameters<typeof generate>): Promise<{ tokens: number[]; finish?: string }[]> {
  const rows = args[1].map((): { tokens: number[]; finish?: string } => ({ tokens: [] }));
  for await (const { row, token, finish } of generate(...args)) {
    assert.equal(rows[row].finish, undefined, "nothing comes after the last token");
    rows[row].tokens.push(token);
    if (finish) rows[row].finish = finish;
  }
  return rows;
}

/** The greedy answer by running the whole text again for every token. */
export async function withoutCache(generator: Generator, prompt: number[], count: number): Promise<number[]> {
  const { executor, config, weights, adapter } = generator;
  const text = [...prompt];
  for (let step = 0; step < count; step++) {
    const batch = makeBatch([{ tokens: Int32Array.from(text), targets: new Uint8Array(text.length) }]);
    const values = batchValues(executor, batch, config), T = text.length;
    const tokens = executor.tensor(batch.tokens, [T]);
    let { x } = await executor.run(embedSegment(config), { embed_tokens: weights.embed_tokens, tokens });
    const segment = layerInferenceSegment({ config, loraScale: adapter?.scale ?? 0 });
    for (const [l, layer] of weights.layers.entries()) {
      const shared = config.layerTypes[l] === "sliding" ? values.sliding : values.full;
      x = (await executor.run(segment, { ...layer, ...adapter?.layers[l], ...shared, x })).y;
    }
    const index = executor.tensor(Int32Array.of(T - 1), [1]), { norm, lm_head } = weights;
    const { logits } = await executor.run(logitsSegment(config), { x, index, norm, lm_head });
    const found = await executor.read(logits);
    text.push(found.indexOf(found.reduce((a, b) => Math.max(a, b))));
    executor.release(logits, x);
  }
  return text.slice(prompt.length);
}
