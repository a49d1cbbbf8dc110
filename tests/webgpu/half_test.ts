/** Tables kept in 16 bits, whole and in parts: a GPU gets the numbers that it gets of the same table in f32. */
import assert from "node:assert/strict";
import { f32ToBf16, f32ToF16 } from "../../lib/formats/float16.ts";
import type { Segment, WeightData } from "../../lib/ops.ts";
import { halfToF32 } from "../../lib/quant/half.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest } from "../helpers/webgpu.ts";

const segment: Segment = {
  key: "table",
  build: (ops, { table, index, h }) => ({ rows: ops.gatherRows(table, index), logits: ops.linear(h, table) }),
};

gpuTest("tables in f16 and bf16 are read as the same in f32", async (gpu) => {
  const V = 72, D = 64, N = 3, x = randomFloats(V * D, 1), shape: [number, number] = [V, D];
  for (const half of [{ format: "f16", data: f32ToF16(x) }, { format: "bf16", data: f32ToBf16(x) }] as const) {
    for (const maxBinding of [undefined, 2 ** 12]) {
      const executor = createWebgpuExecutor(gpu, { half: false, maxBinding });
      const h = executor.tensor(randomFloats(N * D, 2), [N, D]);
      const run = async (data: WeightData) => {
        const index = executor.tensor(Int32Array.of(0, V - 1, 40), [N]);
        const { rows, logits } = await executor.run(segment, { table: executor.weight(data), index, h });
        return await executor.readAll([rows, logits]);
      };
      const found = await run({ kind: "half", shape, ...half });
      assert.ok(found[0].some((value) => value !== 0));
      assert.deepEqual(found, await run({ kind: "f32", shape, data: halfToF32(half) }));
      await executor.dispose();
    }
  }
});
