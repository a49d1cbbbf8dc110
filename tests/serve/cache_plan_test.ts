import assert from "node:assert/strict";
import { openModel } from "../../lib/model/source.ts";
import { planCache } from "../../lib/serve/cache_plan.ts";
import { goldenFolder } from "../helpers/golden_models.ts";

Deno.test("planCache() gives what is wanted where it fits, then fewer slots, then shorter ones", () => {
  const source = openModel(`${goldenFolder}llama3`), { config } = source;
  source.close();
  // 2 layers, keys and values of 2 heads of 32, f32.
  const token = 2 * 2 * 2 * 32 * 4,
    plan = (memory: number, contextLength: number) => {
      const { slots, contextLength: length, bytes } = planCache(config, {
        ...{ memory, contextLength, slots: 8, bytesPerNumber: 4 },
      });
      assert.ok(bytes <= memory);
      return [slots, length];
    };
  assert.deepEqual(plan(1e9, 1000), [8, 1000]);
  assert.deepEqual(plan(1e9, 1e6), [8, 4096], "the model's own limit");
  assert.deepEqual(plan(3 * 1024 * token, 1000), [3, 1000]);
  assert.deepEqual(plan(700 * token, 1000), [1, 640]);
  assert.throws(() => plan(63 * token, 1000), /No memory for a cache/);
});
