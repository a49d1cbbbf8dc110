/** Products with weights in 8 bits: against their formula, row by row the same, whatever session runs them. */
import assert from "node:assert/strict";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { int8FromFloats, int8FromNf4 } from "../../lib/onnx/int8.ts";
import { dequantizeNf4, quantizeNf4 } from "../../lib/quant/nf4.ts";
import type { Segment, WeightData } from "../../lib/ops.ts";
import { randomFloats } from "../helpers/random.ts";

/** x and W each rounded to 8 bits by blocks of 64, the products summed exactly. */
function expected(x: Float32Array, weight: WeightData, [T, O, I]: [number, number, number]): Float64Array {
  const { codes, scales } = weight.kind === "nf4"
    ? int8FromNf4(weight.packed, weight.absmax as Float32Array)
    : int8FromFloats(weight.data);
  const y = new Float64Array(T * O);
  for (let t = 0; t < T; t++) {
    const rounded = new Float64Array(I);
    for (let start = 0; start < I; start += 64) {
      const block = x.subarray(t * I + start, t * I + start + 64), scale = Math.max(...block.map(Math.abs)) / 127;
      block.forEach((value, i) => rounded[start + i] = Math.round(value / scale) * scale);
    }
    for (let o = 0; o < O; o++) {
      for (let i = 0; i < I; i++) y[t * O + o] += rounded[i] * (codes[o * I + i] - 128) * scales[(o * I + i) >> 6];
    }
  }
  return y;
}

Deno.test("products with weights in 8 bits are what their formula says, each row for itself", async () => {
  const [T, O, I] = [9, 33, 192], x = randomFloats(T * I, 1), values = randomFloats(O * I, 2);
  const weights: WeightData[] = [
    { kind: "f32", shape: [O, I], data: values },
    { kind: "nf4", shape: [O, I], ...quantizeNf4(values) },
  ];
  const executor = createOnnxExecutor({ threads: 2, int8: true });
  for (const data of weights) {
    const w = executor.weight(data), y = expected(x, data, [T, O, I]), top = Math.max(...y.map(Math.abs));
    // Two sessions that share what is made of the weight.
    for (const key of ["one", "two"]) {
      const segment: Segment = { key, build: (ops, { x, w }) => ({ y: ops.linear(x, w) }) };
      const all = (await executor.run(segment, { x: executor.tensor(x, [T, I]), w })).y,
        found = await executor.read(all);
      // Halves may be rounded the other way: a step of 2^-7 of the block's largest, here and there.
      found.forEach((value, i) => assert.ok(Math.abs(value - y[i]) < 3e-3 * top, `${value}, not ${y[i]}`));
      for (const rows of [1, 2, 5]) {
        const part = await executor.run(segment, { x: executor.tensor(x.slice(0, rows * I), [rows, I]), w });
        assert.deepEqual((await executor.read(part.y)).slice(), found.slice(0, rows * O), `${rows} rows`);
      }
    }
  }
  await executor.dispose();
});

Deno.test("NF4's codes in 8 bits are close to its values", () => {
  const values = randomFloats(64 * 40, 3), { packed, absmax } = quantizeNf4(values);
  const { codes, scales } = int8FromNf4(packed, absmax), exact = dequantizeNf4(packed, absmax, values.length);
  exact.forEach((value, i) => {
    const found = (codes[i] - 128) * scales[i >> 6];
    assert.ok(Math.abs(found - value) <= 0.5 / 112 * absmax[i >> 6] * 1.0001, `${found}, not ${value}`);
  });
});
