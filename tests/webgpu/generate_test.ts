/** Answers of tiny models on WebGPU: those of the float64 reference, token by token, chosen on the device or from logits. */
import assert from "node:assert/strict";
import type { LoraSettings } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import type { Executor } from "../../lib/ops.ts";
import {
  createWebgpuExecutor,
  type GpuValue,
  type WebgpuExecutor,
  type WebgpuOptions,
} from "../../lib/webgpu/executor.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import { collect, goldenGenerator, withoutCache } from "../helpers/generation.ts";
import { gpuTest } from "../helpers/webgpu.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

/** Uneven, and longer than the windows of gemma3 (8). */
const prompts = [[5, 6, 7], [400, 3, 77, 12, 45, 101, 9, 33, 250, 8, 19], [300]];
const lora: LoraSettings = {
  ...{ r: 3, lora_alpha: 6, lora_dropout: 0, use_rslora: true, use_dora: false, seed: 1 },
  ...{ target_modules: [...projections], init_lora_weights: true },
};

async function withExecutor(gpu: Gpu, options: WebgpuOptions, use: (executor: WebgpuExecutor) => Promise<void>) {
  const executor = createWebgpuExecutor(gpu, options);
  try {
    await use(executor);
  } finally {
    await executor.dispose();
  }
}

/** The executor as one that cannot choose tokens. */
const withoutChoice = (executor: Executor): Executor => ({ ...executor, chooseTokens: undefined });

gpuTest("generate() answers in f32 as the reference does, with and without an adapter, from NF4 too", async (gpu) => {
  const cases = [["gemma3", undefined, "f32"], ["llama3", lora, "nf4"]] as const;
  for (const [name, settings, linear] of cases) {
    const given = { lora: settings, linear }, options = { maxNewTokens: 8, stopIds: [] };
    const expected = await collect(
      await goldenGenerator(name, { ...given, executor: executorFloat64() }),
      prompts,
      options,
    );
    await withExecutor(gpu, { half: false }, async (executor) => {
      const generator = await goldenGenerator(name, { ...given, executor });
      assert.deepEqual(await collect(generator, prompts, options), expected);
      assert.deepEqual(await collect(generator, prompts.slice(0, 1), options), expected.slice(0, 1));
      const host = { ...generator, executor: withoutChoice(executor) };
      assert.deepEqual(await collect(host, prompts, options), expected);
    });
  }
});

gpuTest("generate() answers with a cache in f16 as without a cache", async (gpu) => {
  await withExecutor(gpu, { half: true }, async (executor) => {
    assert.equal((executor.cache!([2, 3, 4]) as GpuValue).tensor.dtype, "f16");
    const generator = await goldenGenerator("qwen3", { executor, lora, linear: "nf4" }), prompt = prompts[1];
    const [{ tokens }] = await collect(generator, [prompt], { maxNewTokens: 6, stopIds: [] });
    assert.deepEqual(tokens, await withoutCache(generator, prompt, 6));
  });
});

gpuTest("generate() draws on the device what it draws from logits, and ends rows as they end there", async (gpu) => {
  await withExecutor(gpu, { half: false }, async (executor) => {
    const generator = await goldenGenerator("llama3", { executor });
    const host = { ...generator, executor: withoutChoice(executor) };
    const sampling = { maxNewTokens: 12, temperature: 1.5, seed: 7 };
    const free = await collect(host, prompts, { ...sampling, stopIds: [] });
    for (const stopIds of [[], [free[0].tokens[2], free[1].tokens[5]]]) {
      for (const limits of [{}, { top_k: 60 }, { top_p: 0.8, min_p: 0.01 }]) {
        const options = { ...sampling, ...limits, stopIds };
        assert.deepEqual(await collect(generator, prompts, options), await collect(host, prompts, options));
      }
    }
    const short = { maxPositions: 13 }, options = { ...sampling, maxNewTokens: 40, stopIds: [] };
    const cut = (which: typeof host) => ({ ...which, config: { ...which.config, ...short } });
    assert.deepEqual(await collect(cut(generator), prompts, options), await collect(cut(host), prompts, options));
    const penalty = { ...options, repetition_penalty: 1.5, maxNewTokens: 5 };
    assert.deepEqual(await collect(generator, prompts, penalty), await collect(host, prompts, penalty));
  });
});

gpuTest("generate() gives its memory back, also when the reader leaves early", async (gpu) => {
  await withExecutor(gpu, {}, async (executor) => {
    const generator = await goldenGenerator("llama3", { executor });
    executor.trim();
    const before = executor.buffers.bytes(), options = { maxNewTokens: 6, temperature: 1, stopIds: [] };
    const all = await collect(generator, prompts, options);
    executor.trim();
    assert.equal(executor.buffers.bytes(), before);
    for (const stopIds of [[all[0].tokens[1]], [all[1].tokens[0]]]) {
      await collect(generator, prompts.slice(0, 2), { ...options, stopIds });
      executor.trim();
      assert.equal(executor.buffers.bytes(), before);
    }
  });
});
