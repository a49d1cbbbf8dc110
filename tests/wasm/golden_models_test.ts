// Whole tiny models on the WASM engine against PyTorch, and generation against itself without a cache.
import assert from "node:assert/strict";
import { projections } from "../../lib/model/names.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { checkBnb4Logits } from "../helpers/bnb4_models.ts";
import { collect, goldenGenerator, withoutCache } from "../helpers/generation.ts";
import { checkGoldenLogits, goldenModels } from "../helpers/golden_models.ts";
import { checkYarnLogits } from "../helpers/yarn_model.ts";

for (const name of goldenModels) {
  Deno.test(`createWasmExecutor() gives PyTorch's logits for ${name}`, async () => {
    const executor = await createWasmExecutor({ threads: 2 });
    await checkGoldenLogits(name, { executor, rtol: 1e-4 });
    await executor.dispose();
  });
}

Deno.test("createWasmExecutor() gives PyTorch's logits for bitsandbytes 4-bit checkpoints", async () => {
  const executor = await createWasmExecutor({ threads: 2 });
  await checkBnb4Logits({ executor, rtol: 1e-3 });
  await executor.dispose();
});

Deno.test("createWasmExecutor() computes a model with YaRN as the float64 reference", async () => {
  const executor = await createWasmExecutor({ threads: 2 });
  await checkYarnLogits({ executor, rtol: 1e-4 });
  await executor.dispose();
});

Deno.test("createWasmExecutor() generates with DoRA as without a cache", async () => {
  const lora = { r: 3, lora_alpha: 6, lora_dropout: 0, use_rslora: true, use_dora: true, seed: 1 };
  const prompts = [[5, 6, 7], [400, 3, 77, 12, 45, 101, 9, 33, 250, 8, 19], [300]];
  const executor = await createWasmExecutor({ threads: 2 });
  const generator = await goldenGenerator("gemma3", {
    executor,
    linear: "nf4",
    lora: { ...lora, target_modules: [...projections], init_lora_weights: true },
  });
  const rows = await collect(generator, prompts, { maxNewTokens: 9, stopIds: [] });
  for (const [row, prompt] of prompts.entries()) {
    assert.deepEqual(rows[row].tokens, await withoutCache(generator, prompt, 9));
  }
  await executor.dispose();
});
