// The real model in NF4: the WASM engine answers as f32 products with the same weights do, whatever reads the prompts.
import assert from "node:assert/strict";
import { fetchModel } from "../../lib/cli/pull.ts";
import { makeDecoder } from "../../lib/model/decode.ts";
import { generate } from "../../lib/model/generate.ts";
import { makeKvCache } from "../../lib/model/kv_cache.ts";
import { openModel } from "../../lib/model/source.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { createManyRows } from "../../lib/onnx/product.ts";
import type { Executor } from "../../lib/ops.ts";
import { renderChat } from "../../lib/text/chat_template.ts";
import { tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { assertSameDistributions } from "../helpers/compare.ts";

const questions = [
  "What is batik?",
  "What is the capital of France?",
  "List the days of the week and the months of the year.",
  "Write two sentences about the sea.",
];

Deno.test("the WASM engine's answers of SmolLM2 are those of f32 products, token by token", async () => {
  const source = openModel(await fetchModel("smollm2-135m")), { config } = source, tokens = source.tokenizer();
  assert.ok(tokens.kind === "gguf");
  const { encode } = tokenizerFromGguf(tokens.metadata, source.path);
  const prompts = questions.map((content) =>
    Int32Array.from(encode(renderChat(source.chatTemplate!, {
      messages: [{ role: "user", content }],
      addGenerationPrompt: true,
      source: "",
    })))
  );

  async function answers(executor: Executor, linear: "nf4" | "dequantised") {
    const weights = loadWeights(source, executor, { linear }), rows: number[][] = prompts.map(() => []);
    for await (
      const { row, token } of generate({ executor, config, weights }, prompts, { maxNewTokens: 64, stopIds: [] })
    ) {
      rows[row].push(token);
    }
    const cache = makeKvCache(executor, { ...config, slots: 1, length: 128 });
    const decode = makeDecoder({ executor, config, weights }, cache), logits: Float32Array[] = [];
    for (const prompt of prompts) {
      const last = await decode(prompt, [{ slot: 0, start: 0, count: prompt.length }], { logits: true });
      logits.push((await executor.read(last!)).slice());
    }
    await executor.dispose();
    return { rows, logits };
  }

  const expected = await answers(createOnnxExecutor(), "dequantised");
  for (const manyRows of [undefined, createManyRows({ threads: 0 })]) {
    const what = manyRows ? "prompts through ONNX Runtime" : "kernels alone";
    const found = await answers(await createWasmExecutor({ manyRows, many: 16 }), "nf4");
    // Integers of 13 bits: 2e-5 of the largest in the mean square at each of 210 products, so that a logit (their
    // deviation is about 3) is off by some thousandths; KL goes with the square of that.
    const worst = assertSameDistributions(expected.logits, found.logits, { limit: 1e-5, what });
    console.log(`${what}: KL divergence at most ${worst.toExponential(1)} nats`);
    assert.deepEqual(found.rows, expected.rows, what);
  }
  source.close();
});
