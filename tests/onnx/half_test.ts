// Weights kept in 16 bits give the bits that the same numbers give in f32, whichever the slices they are cast in.
import assert from "node:assert/strict";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Segment, WeightData } from "../../lib/ops.ts";
import { f32ToBf16, f32ToF16 } from "../../lib/formats/float16.ts";
import { halfToF32 } from "../../lib/quant/half.ts";
import { randomFloats } from "../helpers/random.ts";

const segment: Segment = {
  key: "table",
  build(ops, { table, index, h }) {
    const { loss, dh } = ops.crossEntropy(h, table, index, { scale: 0.5 });
    return { rows: ops.gatherRows(table, index), logits: ops.linear(h, table), loss, dh };
  },
};

for (const format of ["f16", "bf16"] as const) {
  for (const V of [37, 8192, 17_001]) {
    Deno.test(`createOnnxExecutor() reads a table of ${V} rows in ${format} as the same in f32`, async () => {
      const executor = createOnnxExecutor({ threads: 1 }), D = 24, N = 5;
      const shape: [number, number] = [V, D], x = randomFloats(V * D, 1);
      const half = { format, data: format === "f16" ? f32ToF16(x) : f32ToBf16(x) };
      const index = executor.tensor(Int32Array.of(0, V - 1, 5, V >> 1, 7), [N]);
      const h = executor.tensor(randomFloats(N * D, 2), [N, D]);
      const run = async (data: WeightData) => {
        const outputs = await executor.run(segment, { table: executor.weight(data), index, h });
        return await executor.readAll(["rows", "logits", "loss", "dh"].map((name) => outputs[name]));
      };
      const found = await run({ kind: "half", shape, ...half });
      assert.deepEqual(found, await run({ kind: "f32", shape, data: halfToF32(half) }));
      await executor.dispose();
    });
  }
}
