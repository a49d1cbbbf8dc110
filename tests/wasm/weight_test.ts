/** Weights as integers: what becomes of them, how far off they are, and that no sum of a block is lost. */
import assert from "node:assert/strict";
import { f16ToF32, f32ToF16 } from "../../lib/formats/float16.ts";
import { createManyRows } from "../../lib/onnx/product.ts";
import type { Segment, WeightData } from "../../lib/ops.ts";
import { toFloat32 } from "../../lib/quant/decode.ts";
import { dequantizeNf4, nf4Codebook, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { encodeQ8_0 } from "../../lib/quant/q8_0.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { int8Blocks } from "../../lib/wasm/int8_blocks.ts";
import { mostActivation, nf4Factor, nf4Tables } from "../../lib/wasm/weight.ts";
import { assertClose } from "../helpers/close.ts";
import { randomFloats } from "../helpers/random.ts";
import { host } from "../reference/host.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

Deno.test("NF4's values as integers are 3.9e-5 off at most", () => {
  const tables = nf4Tables();
  nf4Codebook.forEach((value, code) => {
    const integer = (tables[code] | tables[16 + code] << 8) << 16 >> 16;
    assert.ok(Math.abs(integer / nf4Factor - value) < 3.9e-5, `${integer / nf4Factor}, not ${value}`);
  });
});

Deno.test("int8Blocks() finds Q8_0's codes behind values rounded to f16, and nothing behind others", () => {
  const x = randomFloats(64 * 96, 5), bytes = encodeQ8_0(x);
  const values = toFloat32(bytes, { dtype: "Q8_0", count: x.length }), rounded = f16ToF32(f32ToF16(values));
  for (const data of [values, rounded]) {
    const found = int8Blocks(data)!;
    found.codes.forEach((code, i) => assert.equal(code * found.scales[i >> 5], values[i]));
  }
  assert.equal(int8Blocks(x), undefined);
  assert.deepEqual(int8Blocks(new Float32Array(64))!.codes, new Int8Array(64));
});

async function product(x: Float32Array, weight: WeightData, shape: [number, number]): Promise<Float32Array> {
  const executor = await createWasmExecutor({ threads: 1 });
  const inputs = { x: executor.tensor(x, shape), w: executor.weight(weight) };
  const { y } = await executor.run({ key: "product", build: (ops, { x, w }) => ({ y: ops.linear(x, w) }) }, inputs);
  const found = (await executor.read(y)).slice();
  await executor.dispose();
  return found;
}

Deno.test("the largest weights times the largest activations lose nothing", async () => {
  const [T, O, I] = [3, 5, 128], ones = new Float32Array(O * I).fill(-127 / 64);
  assert.ok(16 * nf4Factor * mostActivation < 2 ** 31);
  for (const weight of [{ ...quantizeNf4(ones), kind: "nf4" }, { data: ones, kind: "f32" }] as const) {
    const y = await product(new Float32Array(T * I).fill(3), { ...weight, shape: [O, I] } as WeightData, [T, I]);
    assertClose(y, new Float32Array(T * O).fill(-127 / 64 * 3 * I), { rtol: 1e-6, what: weight.kind });
  }
});

Deno.test("a table in 16 bits is the same in f32", async () => {
  const O = 37, I = 40, T = 2, half = { format: "f16" as const, data: f32ToF16(randomFloats(O * I, 3)) };
  const x = randomFloats(T * I, 4), shape: [number, number] = [O, I];
  const found = await product(x, { kind: "half", shape, ...half }, [T, I]);
  assert.deepEqual(found, await product(x, { kind: "f32", shape, data: f16ToF32(half.data) }, [T, I]));
});

Deno.test("products with 8-bit blocks are those of their values, and NaN stays NaN", async () => {
  const O = 37, I = 192, data = toFloat32(encodeQ8_0(randomFloats(O * I, 3)), { dtype: "Q8_0", count: O * I });
  for (const T of [1, 2, 5]) {
    const x = randomFloats(T * I, 4), expected = opsFloat64.linear(host(x, [T, I]), host(data, [O, I]));
    const y = await product(x, { kind: "f32", shape: [O, I], data }, [T, I]);
    // Activations alone are rounded: 3.6e-5 of their block's largest.
    assertClose(y, expected.data, { rtol: 4e-5, what: `${T} rows` });
    x[I - 1] = NaN;
    assert.ok((await product(x, { kind: "f32", shape: [O, I], data }, [T, I])).subarray(0, O).every(Number.isNaN));
  }
});

Deno.test("products of many rows are left to others, in order with the kernels, and differ by f32's rounding", async () => {
  const [T, O, I] = [9, 33, 128], x = randomFloats(T * I, 6), { packed, absmax } = quantizeNf4(randomFloats(O * I, 7));
  const executor = await createWasmExecutor({ threads: 2, manyRows: createManyRows({ threads: 1 }), many: T });
  const w = executor.weight({ kind: "nf4", shape: [O, I], packed, absmax });
  const double: Segment = {
    key: "double",
    build(ops, { x, w }) {
      const y = ops.linear(ops.scale(x, 2), w);
      return { y, twice: ops.add(y, y) };
    },
  };
  let before: Float32Array | undefined;
  const values = host(dequantizeNf4(packed, absmax, O * I), [O, I]);
  for (const rows of [T, T - 1, T]) {
    const found = await executor.run(double, { x: executor.tensor(x.slice(0, rows * I), [rows, I]), w });
    const expected = opsFloat64.linear(host(x.slice(0, rows * I).map((x) => 2 * x), [rows, I]), values);
    const y = await executor.read(found.y), rtol = 9e-5;
    assertClose(y, expected.data, { rtol, what: `${rows} rows` });
    assertClose(await executor.read(found.twice), expected.data.map((y) => 2 * y), {
      rtol,
      what: `${rows} rows, added`,
    });
    // Fewer rows are the kernels' own, and the same but for f32's rounding of 128 products.
    before ??= y.slice(0, (T - 1) * O);
    assertClose(y.subarray(0, (T - 1) * O), before, { rtol: 1e-6, what: `${rows} rows against ${T}` });
  }
  await executor.dispose();
});
