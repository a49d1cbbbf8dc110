import assert from "node:assert/strict";
import type { LoraSettings } from "../../lib/model/adapter.ts";
import { generate } from "../../lib/model/generate.ts";
import { projections } from "../../lib/model/names.ts";
import type { Executor, Value } from "../../lib/ops.ts";
import { collect, goldenGenerator, withoutCache } from "../helpers/generation.ts";
import { goldenModels } from "../helpers/golden_models.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

/** Uneven, and longer than the windows of mistral and gemma3 (8). */
const prompts = [[5, 6, 7], [400, 3, 77, 12, 45, 101, 9, 33, 250, 8, 19], [300]];
const lora: LoraSettings = {
  r: 3,
  lora_alpha: 6,
  lora_dropout: 0,
  use_rslora: true,
  use_dora: false,
  target_modules: [...projections],
  init_lora_weights: true,
  seed: 1,
};

for (const name of goldenModels) {
  Deno.test(`generate() answers a batch as ${name} does without a cache`, async () => {
    const generator = await goldenGenerator(name, { executor: executorFloat64() });
    const rows = await collect(generator, prompts, { maxNewTokens: 9, stopIds: [] });
    for (const [row, prompt] of prompts.entries()) {
      assert.deepEqual(rows[row], { tokens: await withoutCache(generator, prompt, 9), finish: "length" });
    }
  });
}

Deno.test("generate() uses an adapter, with DoRA too", async () => {
  for (const use_dora of [false, true]) {
    const executor = executorFloat64();
    const generator = await goldenGenerator("qwen2", { executor, lora: { ...lora, use_dora } });
    const rows = await collect(generator, prompts, { maxNewTokens: 6, stopIds: [] });
    for (const [row, prompt] of prompts.entries()) {
      assert.deepEqual(rows[row].tokens, await withoutCache(generator, prompt, 6));
    }
    const plain = await collect({ ...generator, adapter: undefined }, prompts, { maxNewTokens: 6, stopIds: [] });
    assert.notDeepEqual(plain, rows, "the adapter changes the answer");
  }
});

Deno.test("generate() answers past a whole step of the cache", async () => {
  const generator = await goldenGenerator("llama_tied", { executor: executorFloat64() });
  const prompt = Array.from({ length: 60 }, (_, i) => (i * 37 + 5) % 512);
  const [row] = await collect(generator, [prompt, [1]], { maxNewTokens: 8, stopIds: [] });
  assert.deepEqual(row.tokens, await withoutCache(generator, prompt, 8));
});

Deno.test("generate() ends a row at a stop id and lets the others go on", async () => {
  const generator = await goldenGenerator("llama3", { executor: executorFloat64() });
  const free = await collect(generator, prompts, { maxNewTokens: 9, stopIds: [] });
  const stop = free[0].tokens[2], first = free.map(({ tokens }) => tokens.indexOf(stop));
  const rows = await collect(generator, prompts, { maxNewTokens: 9, stopIds: [stop] });
  rows.forEach(({ tokens, finish }, row) => {
    assert.deepEqual(tokens, first[row] < 0 ? free[row].tokens : free[row].tokens.slice(0, first[row] + 1));
    assert.equal(finish, first[row] < 0 ? "length" : "stop");
  });
  assert.ok(rows[0].tokens.length <= 3);
});

Deno.test("generate() stops at the model's last position", async () => {
  const generator = await goldenGenerator("qwen3", { executor: executorFloat64() });
  const short = { ...generator, config: { ...generator.config, maxPositions: 12 } };
  const rows = await collect(short, prompts, { maxNewTokens: 100, stopIds: [] });
  assert.deepEqual(rows.map(({ tokens, finish }) => [tokens.length, finish]), [[9, "length"], [1, "length"], [
    11,
    "length",
  ]]);
});

Deno.test("generate() draws by seed, and the same for a row whatever comes after it", async () => {
  const generator = await goldenGenerator("llama3", { executor: executorFloat64() });
  const draw = async (seed: number, count: number) =>
    (await collect(generator, prompts.slice(0, count), {
      maxNewTokens: 8,
      temperature: 1.5,
      top_k: 60,
      seed,
      stopIds: [],
    }))
      .map(({ tokens }) => tokens);
  const all = await draw(7, 3);
  assert.deepEqual(await draw(7, 3), all);
  assert.deepEqual(await draw(7, 1), all.slice(0, 1));
  assert.notDeepEqual(await draw(8, 3), all);
});

Deno.test("generate() gives its memory back, also when the reader leaves early", async () => {
  const inner = executorFloat64();
  const live = new Set<Value>();
  const executor: Executor = {
    ...inner,
    async run(segment, inputs, into) {
      const outputs = await inner.run(segment, inputs, into);
      for (const value of Object.values(outputs)) live.add(value);
      return outputs;
    },
    release: (...values) => values.forEach((value) => live.delete(value)),
  };
  const generator = await goldenGenerator("gemma3", { executor });
  await collect(generator, prompts, { maxNewTokens: 5, stopIds: [] });
  assert.equal(live.size, 0);
  for await (const _ of generate(generator, prompts, { maxNewTokens: 5 })) break;
  assert.equal(live.size, 0);
});

Deno.test("generate() refuses prompts that cannot be run", async () => {
  const generator = await goldenGenerator("llama3", { executor: executorFloat64() });
  const run = (prompt: number[]) => collect(generator, [[1], prompt], { maxNewTokens: 2 });
  await assert.rejects(run([]), /Prompt 2 is empty/);
  await assert.rejects(run([512]), /Prompt 2 holds token 512, the model has 512/);
  await assert.rejects(run(new Array(4096).fill(1)), /Prompt 2 has 4096 tokens, llama3 has 4096 positions/);
  assert.deepEqual(await collect(generator, [], { maxNewTokens: 2 }), []);
});
