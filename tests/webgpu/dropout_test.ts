/** Masks of dropout made on a GPU are those of the CPU, bit for bit. */
import assert from "node:assert/strict";
import { dropoutMasks } from "../../lib/model/dropout.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Executor } from "../../lib/ops.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { gpuTest } from "../helpers/webgpu.ts";

const widths = { q_proj: 64, up_proj: 131, down_proj: 1 };

async function masksOn(executor: Executor, options: { layer: number; tokens: number; p: number; seed: number }) {
  const inputs = Object.fromEntries(
    Object.entries(widths).map(([name, width]) => [`${name}.lora_A`, { shape: [8, width] }]),
  );
  const masks = dropoutMasks({ executor, inputs, ...options });
  const data = await executor.readAll(Object.values(masks));
  return Object.keys(masks).map((name, i) => ({ name, shape: [...Object.values(masks)[i].shape], data: [...data[i]] }));
}

gpuTest("dropoutMasks() are the CPU's, bit for bit", async (gpu) => {
  const host = createOnnxExecutor({ threads: 1 }), executor = createWebgpuExecutor(gpu);
  for (const p of [0.05, 0.5, 0.9, 1 - 2 ** -30]) {
    for (const [layer, tokens, seed] of [[0, 1, 7], [3, 37, -1], [31, 501, 2 ** 31 + 5]]) {
      const options = { layer, tokens, p, seed };
      const expected = await masksOn(host, options), found = await masksOn(executor, options);
      assert.deepEqual(found, expected);
      assert.equal(found.length, 3);
      if (tokens < 500) continue;
      for (const { name, data } of found.slice(0, 2)) {
        const dropped = data.filter((x) => x === 0).length, kept = Math.fround(1 / (1 - p));
        assert.ok(data.every((x) => x === 0 || x === kept), name);
        // Six deviations of a binomial distribution.
        const room = 6 * Math.sqrt(data.length * p * (1 - p)) + 1;
        assert.ok(Math.abs(dropped - p * data.length) < room, `${name}: ${dropped} of ${data.length}`);
      }
    }
  }
  await host.dispose();
  await executor.dispose();
});
