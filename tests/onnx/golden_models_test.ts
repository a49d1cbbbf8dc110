// Whole tiny models on ONNX Runtime against PyTorch and PEFT, and generation against itself without a cache.
import assert from "node:assert/strict";
import { projections } from "../../lib/model/names.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Executor } from "../../lib/ops.ts";
import { checkBnb4Logits } from "../helpers/bnb4_models.ts";
import { collect, goldenGenerator, withoutCache } from "../helpers/generation.ts";
import { checkGoldenLogits, checkGoldenTraining, goldenModels } from "../helpers/golden_models.ts";
import { checkYarnLogits } from "../helpers/yarn_model.ts";

async function withExecutor(use: (executor: Executor) => Promise<unknown>): Promise<void> {
  const executor = createOnnxExecutor({ threads: 2 });
  try {
    await use(executor);
  } finally {
    await executor.dispose();
  }
}

for (const name of goldenModels) {
  Deno.test(`createOnnxExecutor() gives PyTorch's logits for ${name}`, async () => {
    await withExecutor((executor) => checkGoldenLogits(name, { executor, rtol: 1e-4 }));
  });

  Deno.test(`createOnnxExecutor() gives PEFT's loss and LoRA gradients for ${name}`, async () => {
    const limits = { rtol: 1e-3, lossRtol: 1e-5 };
    await withExecutor((executor) => checkGoldenTraining(name, { executor, ...limits }));
    await withExecutor((executor) => checkGoldenTraining(name, { executor, ...limits, split: true, keepLayers: 1 }));
  });
}

Deno.test("createOnnxExecutor() gives PyTorch's logits for bitsandbytes 4-bit checkpoints", async () => {
  await withExecutor((executor) => checkBnb4Logits({ executor, rtol: 1e-4 }));
});

Deno.test("createOnnxExecutor() computes a model with YaRN as the float64 reference", async () => {
  await withExecutor((executor) => checkYarnLogits({ executor, rtol: 1e-4 }));
});

Deno.test("createOnnxExecutor() generates with DoRA as without a cache", async () => {
  const lora = { r: 3, lora_alpha: 6, lora_dropout: 0, use_rslora: true, use_dora: true, seed: 1 };
  const prompts = [[5, 6, 7], [400, 3, 77, 12, 45, 101, 9, 33, 250, 8, 19], [300]];
  await withExecutor(async (executor) => {
    const generator = await goldenGenerator("gemma3", {
      executor,
      lora: { ...lora, target_modules: [...projections], init_lora_weights: true },
    });
    const rows = await collect(generator, prompts, { maxNewTokens: 9, stopIds: [] });
    for (const [row, prompt] of prompts.entries()) {
      assert.deepEqual(rows[row].tokens, await withoutCache(generator, prompt, 9));
    }
  });
});
