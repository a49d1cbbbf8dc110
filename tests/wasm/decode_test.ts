/** Passes over a cache on the WASM engine: logits to the last bit the same, however a text is cut and whatever runs beside it. */
import assert from "node:assert/strict";
import type { LoraSettings } from "../../lib/model/adapter.ts";
import { makeDecoder } from "../../lib/model/decode.ts";
import { makeKvCache } from "../../lib/model/kv_cache.ts";
import { projections } from "../../lib/model/names.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { goldenGenerator } from "../helpers/generation.ts";
import { goldenModels } from "../helpers/golden_models.ts";

const lora: LoraSettings = {
  ...{ r: 3, lora_alpha: 6, lora_dropout: 0, use_rslora: true, use_dora: false, seed: 1 },
  ...{ target_modules: [...projections], init_lora_weights: true },
};
const text = Array.from({ length: 60 }, (_, i) => (i * 37 + 5) % 512);

for (const [adapted, threads] of [[false, 2], [true, 3]] as const) {
  for (const name of goldenModels) {
    Deno.test(
      `a text has the same logits in pieces, a token at a time and beside others: ${name}, ${
        adapted ? "with an adapter" : "alone"
      }`,
      async () => {
        const executor = await createWasmExecutor({ threads });
        const generator = await goldenGenerator(name, { executor, linear: "nf4", lora: adapted ? lora : undefined });
        const cache = makeKvCache(executor, { ...generator.config, slots: 3, length: 64 });
        const decode = makeDecoder(generator, cache);

        /** Logits after the text, run in pieces of these lengths in a slot, others beside it in two more. */
        async function logits(lengths: number[], { slot, beside = 0 }: { slot: number; beside?: number }) {
          let start = 0, last = new Float32Array();
          for (const count of lengths) {
            const others = Array.from({ length: beside }, (_, i) => ({ slot: (slot + 1 + i) % 3, start, count: 1 }));
            const tokens = [...others.map(({ slot }) => slot), ...text.slice(start, start + count)];
            const found = await decode(Int32Array.from(tokens), [...others, { slot, start, count }], { logits: true });
            last = (await executor.read(found!)).slice(beside * generator.config.vocabSize);
            executor.release(found!);
            start += count;
          }
          return last;
        }

        const whole = await logits([60], { slot: 0 });
        assert.equal(whole.length, 512);
        assert.deepEqual(await logits([32, 20, 7, 1], { slot: 1 }), whole);
        assert.deepEqual(await logits(Array(60).fill(1), { slot: 2 }), whole);
        assert.deepEqual(await logits(Array(60).fill(1), { slot: 0, beside: 2 }), whole);
        assert.deepEqual(await logits([50, ...Array(10).fill(1)], { slot: 1, beside: 1 }), whole);
        cache.release();
        await executor.dispose();
      },
    );
  }
}
