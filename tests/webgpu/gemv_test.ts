/** Products of a few rows with dense and NF4 matrices against float64 loops. */
import assert from "node:assert/strict";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { dynamicMap } from "../../lib/quant/dynamic_map.ts";
import { dequantizeNf4, quantizeNf4 } from "../../lib/quant/nf4.ts";
import type { Activation } from "../../lib/ops.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import type { Dispatch } from "../../lib/webgpu/dispatch.ts";
import { type Gemm, gemm, sizesOf } from "../../lib/webgpu/gemm_kernels.ts";
import { gated } from "../../lib/webgpu/gated_kernels.ts";
import { gemmNf4Matrix } from "../../lib/webgpu/gemm_nf4_kernels.ts";
import { gemvGated, gemvNf4, gemvTogether, mostGemvRows, type Nf4Matrix } from "../../lib/webgpu/gemv_kernels.ts";
import { nf4Layout } from "../../lib/webgpu/nf4_kernels.ts";
import { assertClose } from "../helpers/close.ts";
import { type FloatType, type Operand, operand, rounding } from "../helpers/operand.ts";
import { gpuTest, halved, input, output, runDispatches, type TestTensor } from "../helpers/webgpu.ts";

interface Case {
  M: number;
  O: number;
  I: number;
  /** What W is: a dense type, or NF4 with plain or double-quantised maxima. */
  weight: FloatType | "nf4" | "double";
  /** Of x, of the low-rank factors, and of y. */
  type?: FloatType;
  scale?: number;
  R?: number;
  plus?: "vector" | "matrix";
  columns?: { start: number; width: number };
  /** The kernel for NF4 on tensor cores, which rounds W to f16. */
  matrix?: boolean;
}

const target = { f16: true, matrix: false, maxBinding: 2 ** 31 };

/** Codes of random numbers, and the numbers that they stand for. */
function nf4(count: number, double: boolean, seed = count): { codes: Nf4Matrix<TestTensor>; values: Float32Array } {
  const { packed, absmax } = quantizeNf4(operand([count], seed).tensor.data as Float32Array);
  const { parts, bytes } = nf4Layout(count, double), memory = new Uint8Array(bytes).fill(0x7f);
  const put = (name: string, data: Uint8Array | Float32Array) =>
    memory.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), parts[name].offset);
  const whole = input([bytes / 4], new Uint32Array(memory.buffer));
  put("packed", packed);
  if (!double) {
    put("absmax", absmax);
    return { codes: { whole }, values: dequantizeNf4(packed, absmax, count) };
  }
  const { codes, nestedAbsmax, offset } = quantizeAbsmax(absmax);
  put("codes", codes);
  put("nested", Float32Array.of(...dynamicMap(true), ...nestedAbsmax));
  const recovered = recoverAbsmax({ codes, nestedAbsmax, offset });
  return { codes: { whole, double: { offset } }, values: dequantizeNf4(packed, recovered, count) };
}

/**
 * Every kernel adds up to I terms of at most 1 in some order, each addition rounding a sum that walks at random:
 * 4 * I * 2^-24 bounds them with room, and a result in f16 takes a rounding more.
 */
async function check(gpu: Gpu, given: Case): Promise<void> {
  const { M, O, I, weight, type = "f32", scale = 1, R = 0, columns, matrix } = given, what = JSON.stringify(given);
  const width = columns?.width ?? O, start = columns?.start ?? 0;
  const x = operand([M, I], M + I, { dtype: matrix ? "f16" : type }), dense = weight === "f32" || weight === "f16";
  const W = dense ? operand([O, I], 3, { dtype: weight }) : undefined;
  const coded = dense ? undefined : nf4(O * I, weight === "double");
  const low: Operand[] = R > 0 ? [operand([M, R], 4, { dtype: type }), operand([O, R], 5, { dtype: type })] : [];
  const plus = given.plus && operand(given.plus === "vector" ? [width] : [M, width], 6);
  // Columns outside of the product must stay as they are.
  const y = columns ? operand([M, width], 7, { dtype: type }).tensor : output([M, width], type);
  const rest = {
    ...{ a: x.tensor, y, transB: true, scale, columns, plus: plus?.tensor },
    low: R > 0 ? { a: low[0].tensor, b: low[1].tensor, scale: -0.5 } : undefined,
  };
  const sizes = sizesOf<TestTensor>({ ...rest, b: { shape: [O, I], dtype: "f32" } });
  const dispatches: Dispatch<TestTensor>[] = W
    ? gemm(target, { ...rest, b: W.tensor } as Gemm<TestTensor>)
    : matrix
    ? [gemmNf4Matrix({ ...target, matrix }, { ...rest, codes: coded!.codes }, sizes)!]
    : [gemvNf4({ ...rest, codes: coded!.codes }, sizes)!];
  const kernel = W ? "gemv" : matrix ? "gemm_nf4_matrix" : "gemv_nf4";
  assert.deepEqual(dispatches.map(({ kernel }) => kernel), [kernel], what);

  const numbers = W?.value.data ?? (matrix ? halved(coded!.values) : coded!.values);
  const expected = Float64Array.from(y.data ?? new Float32Array(M * width));
  for (let m = 0; m < M; m++) {
    for (let o = 0; o < O; o++) {
      let sum = 0, second = 0;
      for (let i = 0; i < I; i++) sum += x.value.data[m * I + i] * numbers[o * I + i];
      for (let r = 0; r < R; r++) second += low[0].value.data[m * R + r] * low[1].value.data[o * R + r];
      const added = plus ? plus.value.data[given.plus === "vector" ? start + o : m * width + start + o] : 0;
      expected[m * width + start + o] = scale * sum - 0.5 * second + added;
    }
  }
  const [found] = await runDispatches(gpu, dispatches, [y]);
  const { rtol, atol } = rounding[type];
  // A maximum that is computed otherwise in its last bit moves numbers of W that lie between two of f16: four of them at once.
  const moved = matrix ? 4 * 2 ** -11 * Math.abs(scale) : 0;
  assertClose(found as Float32Array, expected, {
    rtol: 2 * rtol,
    atol: atol + 4 * (I + R + 1) * 2 ** -24 + moved,
    what,
  });
}

// Software devices take long to compile a kernel: cases share their variants where they can.
const rows = [1, 2, 3, mostGemvRows];
const weights = { gemv: ["f32", "f16"], gemv_nf4: ["nf4", "double"] } as const;

for (const [kernel, kinds] of Object.entries(weights)) {
  gpuTest(`${kernel} multiplies any number of outputs, for one row and for several`, async (gpu) => {
    for (const M of rows) {
      for (const [O, I] of [[1, 256], [37, 576], [7, 4160]]) await check(gpu, { M, O, I, weight: kinds[0] });
    }
  });

  gpuTest(`${kernel} reads and writes f16, and the other kind of matrix`, async (gpu) => {
    for (const M of rows) {
      for (const [O, I] of [[37, 576], [131, 1088]]) await check(gpu, { M, O, I, weight: kinds[1], type: "f16" });
    }
  });

  gpuTest(`${kernel} adds a low-rank product, a bias and a matrix, into columns of a wider y`, async (gpu) => {
    const columns = { start: 3, width: 47 }, sizes = { M: 3, O: 37, I: 576, scale: -2 };
    await check(gpu, { ...sizes, weight: kinds[1], R: 16, plus: "vector" });
    await check(gpu, { ...sizes, weight: kinds[1], R: 200, plus: "matrix", columns });
    await check(gpu, { ...sizes, M: 8, weight: kinds[0], R: 5, plus: "matrix", type: "f16" });
    await check(gpu, { ...sizes, M: 1, weight: kinds[0], plus: "vector", columns, type: "f16" });
  });
}

gpuTest(
  "gemv_nf4 at every number of neighbours that share x, and where blocks go over the ends of rows",
  async (gpu) => {
    for (const M of [1, 8]) {
      await check(gpu, { M, O: 4099, I: 1056, weight: "double" });
      await check(gpu, { M, O: 8195, I: 64, weight: "double" });
      await check(gpu, { M, O: 33, I: 96, weight: "double" });
      await check(gpu, { M, O: 9, I: 1120, weight: "double" });
    }
  },
);

gpuTest("gemm_nf4_matrix multiplies up to 32 rows, with everything added", async (gpu) => {
  if (!gpu.matrix) return;
  const columns = { start: 3, width: 520 };
  for (const M of [1, 9, 16, 17, 32]) {
    for (const [O, I] of [[1, 256], [37, 576], [500, 1120], [96, 32], [8200, 96], [8200, 192]]) {
      await check(gpu, { M, O, I, weight: "nf4", matrix: true });
      await check(gpu, { M, O, I, weight: "double", matrix: true, type: "f16" });
    }
    const sizes = { M, O: 500, I: 4160, scale: -2, weight: "double", matrix: true } as const;
    await check(gpu, { ...sizes, R: 16, plus: "vector", columns });
    await check(gpu, { ...sizes, R: 3, plus: "matrix", type: "f16" });
  }
});

/** Products of one x with matrices of other sizes, each by itself, and what is to be had of them together. */
function several(
  { M, I, sizes, weight, type, R = 0, plus = false }: Pick<Case, "M" | "I" | "weight" | "R"> & {
    sizes: number[];
    type: FloatType;
    plus?: boolean;
  },
) {
  const x = operand([M, I], M + I, { dtype: type }).tensor, scale = 0.5;
  return sizes.map((O, i) => {
    const y = output([M, O], type), shape: TestTensor = { shape: [O, I], dtype: "f32" };
    const low = R > 0
      ? { a: operand([M, R], i, { dtype: type }).tensor, b: operand([O, R], 3 + i, { dtype: type }).tensor, scale: 2 }
      : undefined;
    const rest = { a: x, y, transB: true, scale, low, plus: plus ? operand([O], 20 + i).tensor : undefined };
    const dispatch = weight === "nf4" || weight === "double"
      ? gemvNf4({ ...rest, codes: nf4(O * I, weight === "double", 7 + i).codes }, sizesOf({ ...rest, b: shape }))!
      : gemm(target, { ...rest, b: operand([O, I], 10 + i, { dtype: weight }).tensor })[0];
    return { dispatch, y };
  });
}

const same = (a: TestTensor, b: TestTensor) => a === b;

/** Dawn on a processor takes many seconds to compile one of these: there the first case has to do. */
const casesFor = <C>(gpu: Gpu, cases: C[]) => gpu.software && gpu.engine === "dawn" ? cases.slice(0, 1) : cases;

gpuTest("gemvTogether() multiplies by two and three matrices as single products do", async (gpu) => {
  const cases: Parameters<typeof several>[0][] = [
    { M: 1, I: 1120, sizes: [37, 9, 6], weight: "double", type: "f16" },
    { M: 3, I: 96, sizes: [5, 33, 18], weight: "double", type: "f32", R: 3, plus: true },
    { M: 8, I: 1056, sizes: [1, 130], weight: "nf4", type: "f32", R: 1 },
    { M: 1, I: 2048, sizes: [16, 8, 5], weight: "f16", type: "f16" },
    { M: 5, I: 264, sizes: [3, 3], weight: "f32", type: "f32" },
  ];
  for (const each of casesFor(gpu, cases)) {
    const apart = several(each), what = JSON.stringify(each), made = apart.map(({ y }) => y);
    const together = gemvTogether(apart.map(({ dispatch }) => dispatch), same);
    const expected = await runDispatches(gpu, apart.map(({ dispatch }) => dispatch), made);
    const found = await runDispatches(gpu, [together!], made);
    // The same terms, and the neighbours that share x may be more.
    const { rtol, atol } = rounding[each.type];
    found.forEach((values, i) =>
      assertClose(values as Float32Array, expected[i], { rtol, atol: atol + 4 * each.I * 2 ** -24, what })
    );
  }
});

gpuTest("gemvGated() gives the gated activation of both products", async (gpu) => {
  const cases: [M: number, O: number, I: number, R: number, Activation][] = [
    [1, 37, 1120, 3, "silu"],
    [2, 9, 96, 8, "gelu_tanh"],
    [8, 130, 1056, 1, "silu"],
    [1, 5, 64, 0, "gelu_tanh"],
  ];
  for (const [M, O, I, R, activation] of casesFor(gpu, cases)) {
    const [gate, up] = several({ M, I, sizes: [O, O], weight: "double", type: "f32", R });
    const y = output([M, O]), last = gated(gate.y, up.y, y, activation);
    const apart = [gate.dispatch, up.dispatch, last];
    const [expected] = await runDispatches(gpu, apart, [y]);
    const [found] = await runDispatches(gpu, [gemvGated([gate.dispatch, up.dispatch], last, same)!], [y]);
    // Operands off by what sums of I terms round to, each times a factor as large as the other.
    const largest = (expected as Float32Array).reduce((a, b) => Math.max(a, Math.abs(b)), 1);
    const what = `${M} ${O} ${I} ${R} ${activation}`;
    assertClose(found as Float32Array, expected as Float32Array, {
      rtol: 1e-5,
      atol: 4 * (I + R) * 2 ** -24 * largest,
      what,
    });
  }
});

Deno.test("gemvTogether() leaves apart what differs in more than the matrix", () => {
  const shape = { M: 2, I: 256, weight: "double", type: "f32" } as const;
  const [first, second] = several({ ...shape, sizes: [8, 4] }).map(({ dispatch }) => dispatch);
  const [other] = several({ ...shape, sizes: [4] }), [low] = several({ ...shape, sizes: [4], R: 2 });
  const [dense, biased] = [false, true].map((plus) =>
    several({ ...shape, weight: "f32", sizes: [4, 4], plus }).map(({ dispatch }) => dispatch)
  );
  const scaled = { ...second, params: second.params.map((value, i) => i === 5 ? { f32: 3 } : value) };
  assert.ok(gemvTogether([first, second], same));
  assert.ok(gemvTogether(dense, same));
  for (const [a, b] of [[first, other.dispatch], [first, low.dispatch], [first, scaled], [first, dense[0]], biased]) {
    assert.equal(gemvTogether([a, b], same), undefined);
  }
});

gpuTest("gemvNf4() and gemm() leave what is not theirs to other kernels", (gpu) => {
  assert.ok(gpu.device);
  const float = (...shape: number[]): TestTensor => ({ shape, dtype: "f32" });
  const codes = { whole: float(1) };
  const coded = (M: number, O: number, I: number, more: Partial<Gemm<TestTensor>> = {}) => {
    const g = { a: float(M, I), y: float(M, O), transB: true, ...more };
    return gemvNf4({ ...g, codes }, { M, N: O, K: I, R: 0 })?.kernel;
  };
  assert.equal(coded(8, 64, 64), "gemv_nf4");
  assert.deepEqual([coded(9, 64, 64), coded(1, 64, 61), coded(1, 64, 64, { transB: false })], [
    undefined,
    undefined,
    undefined,
  ]);
  const dense = (M: number, O: number, I: number) =>
    gemm(target, { a: float(M, I), b: float(O, I), y: float(M, O), transB: true })[0].kernel;
  assert.deepEqual(
    [dense(8, 64, 512), dense(9, 64, 512), dense(1, 64, 509), dense(1, 64, 64)].map((name) => name === "gemv"),
    [true, false, false, false],
  );
  return Promise.resolve();
});
