/** The rotary embedding kernel against the float64 reference. */
import assert from "node:assert/strict";
import { assertClose } from "../helpers/close.ts";
import { type FloatType, operand, operandOf, rounding } from "../helpers/operand.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, input, output, runDispatches } from "../helpers/webgpu.ts";
import { rope, ropePair, ropeStore } from "../../lib/webgpu/rope_kernels.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

gpuTest("ropePair() turns queries and keys as two ropes do", async (gpu) => {
  for (const [T, heads, others, half] of [[17, 6, 2, 32], [5, 3, 1, 3]]) {
    const angles = randomFloats(T * half, 3);
    const cos = operandOf([T, half], angles.map(Math.cos), "f32"),
      sin = operandOf([T, half], angles.map(Math.sin), "f32");
    const q = operand([T, heads * 2 * half], 1, {}), k = operand([T, others * 2 * half], 2, {});
    for (const inverse of [false, true]) {
      const made = [output(q.tensor.shape), output(k.tensor.shape)];
      const apart = [q, k].map((x, i) =>
        rope(x.tensor, cos.tensor, sin.tensor, made[i], { heads: [heads, others][i], inverse })
      );
      const expected = await runDispatches(gpu, apart, made);
      const pair = ropePair(apart[0], apart[1], (a, b) => a === b);
      assert.deepEqual(await runDispatches(gpu, [pair!], made), expected);
    }
    const [y, z] = [output(q.tensor.shape), output(q.tensor.shape)];
    const [first, second] = [[q.tensor, y], [y, z]].map(([x, to]) => rope(x, cos.tensor, sin.tensor, to, { heads }));
    assert.equal(ropePair(first, second, (a, b) => a === b), undefined, "the second reads what the first writes");
  }
});

gpuTest("ropeStore() turns queries, and stores turned keys and values in their rows and nowhere else", async (gpu) => {
  for (
    const [T, heads, kvHeads, half, type] of [[3, 6, 2, 32, "f16"], [5, 3, 1, 3, "f32"], [1, 4, 4, 4, "f32"]] as const
  ) {
    const angles = randomFloats(T * half, 3), rows = 11, width = kvHeads * 2 * half;
    const cos = operandOf([T, half], angles.map(Math.cos), "f32"),
      sin = operandOf([T, half], angles.map(Math.sin), "f32");
    const q = operand([T, heads * 2 * half], 1, { dtype: type });
    const [k, v] = [2, 3].map((seed) => operand([T, width], seed, { dtype: type }));
    const tables = [4, 5].map((seed) => operand([1, rows, width], seed, { dtype: type }));
    const places = [7, 0, 10, 3, rows].slice(0, T), index = input([T], Int32Array.from(places));
    const [keys, values] = tables.map(({ tensor }) => tensor);
    const call = ropeStore(
      { q: q.tensor, k: k.tensor, v: v.tensor, cos: cos.tensor, sin: sin.tensor, index, keys, values },
      { heads, kvHeads },
    );
    const found = await runDispatches(gpu, [call], [q.tensor, keys, values]);
    const turned = (x: typeof q, heads: number) => opsFloat64.rope(x.value, cos.value, sin.value, { heads }).data;
    const stored = (table: typeof q, data: ArrayLike<number>) => {
      const all = Float64Array.from(table.value.data);
      places.forEach((row, t) => {
        if (row < rows) all.set(Array.from(data).slice(t * width, (t + 1) * width), row * width);
      });
      return all;
    };
    const expected = [turned(q, heads), stored(tables[0], turned(k, kvHeads)), stored(tables[1], v.value.data)];
    const { rtol, atol } = rounding[type], what = `${T} x ${heads}/${kvHeads} heads of ${2 * half}`;
    found.forEach((values, i) => assertClose(values, expected[i], { rtol, atol: atol + 4 * 2 ** -24, what }));
  }
});

gpuTest("rope() and its inverse, whole vectors and odd halves", async (gpu) => {
  const types: [FloatType, FloatType, FloatType][] = [
    ["f32", "f32", "f32"],
    ["f16", "f32", "f16"],
    ["f32", "f16", "f16"],
    ["f16", "f32", "f32"],
  ];
  for (const [i, [T, heads, half]] of [[1, 9, 32], [17, 3, 64], [33, 1, 3], [5, 4, 18]].entries()) {
    const [typeX, typeAngle, typeY] = types[i];
    const angles = Float32Array.from({ length: T * half }, (_, k) => Math.floor(k / half) * 0.7 ** (k % half) + k);
    const cos = operandOf([T, half], angles.map(Math.cos), typeAngle);
    const sin = operandOf([T, half], angles.map(Math.sin), typeAngle);
    const x = operand([T, heads * 2 * half], 1, { dtype: typeX });
    for (const inverse of [false, true]) {
      const y = output(x.tensor.shape, typeY);
      const call = rope(x.tensor, cos.tensor, sin.tensor, y, { heads, inverse });
      const [found] = await runDispatches(gpu, [call], [y]);
      const expected = opsFloat64.rope(x.value, cos.value, sin.value, { heads, inverse });
      // Two products below 1 that may cancel, and their sum.
      const { rtol, atol } = rounding[typeY], what = `[${T}, ${heads} * ${2 * half}] inverse ${inverse}`;
      assertClose(found, expected.data, { rtol, atol: atol + 4 * 2 ** -24, what });
    }
  }
});
