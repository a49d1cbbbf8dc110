/** Products against float64 loops: every kernel, layout, element type and addition, at sizes that divide by nothing. */
import assert from "node:assert/strict";
import { assertClose } from "../helpers/close.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, halved, input, output, runDispatches, type TestTensor } from "../helpers/webgpu.ts";
import { type Gpu, kernelTarget } from "../../lib/webgpu/device.ts";
import { type Gemm, gemm, type GemmKind } from "../../lib/webgpu/gemm_kernels.ts";
import { joinDispatches } from "../../lib/webgpu/join.ts";

type Float = "f32" | "f16";

/** A case by its sizes and element types; tensors are made from it. */
interface Case {
  M: number;
  N: number;
  K: number;
  transA?: boolean;
  transB?: boolean;
  scale?: number;
  plus?: "vector" | "matrix";
  accumulate?: boolean;
  low?: { R: number; scale: number };
  columns?: { start: number; width: number };
  types?: { a?: Float; b?: Float; y?: Float; low?: Float; plus?: Float };
  kind?: GemmKind;
  unroll?: boolean;
}

let seed = 0;

function random(shape: readonly number[], dtype: Float = "f32"): TestTensor {
  const data = randomFloats(shape.reduce((x, y) => x * y, 1), ++seed);
  return input(shape, dtype === "f16" ? halved(data) : data, dtype);
}

/** x [I, K] * y [K, J], both given by strides, in float64. */
function product(
  I: number,
  J: number,
  K: number,
  x: ArrayLike<number>,
  xAt: (i: number, k: number) => number,
  y: ArrayLike<number>,
  yAt: (k: number, j: number) => number,
): Float64Array {
  // Copied side by side first: the largest cases are a hundred million terms.
  const rows = new Float64Array(I * K), columns = new Float64Array(J * K), sums = new Float64Array(I * J);
  for (let i = 0; i < I; i++) for (let k = 0; k < K; k++) rows[i * K + k] = x[xAt(i, k)];
  for (let j = 0; j < J; j++) for (let k = 0; k < K; k++) columns[j * K + k] = y[yAt(k, j)];
  for (let i = 0; i < I; i++) {
    for (let j = 0; j < J; j++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += rows[i * K + k] * columns[j * K + k];
      sums[i * J + j] = sum;
    }
  }
  return sums;
}

function build({ M, N, K, transA, transB, scale, plus, accumulate, low, columns, types = {} }: Case) {
  const width = columns?.width ?? N, start = columns?.start ?? 0;
  const a = random(transA ? [K, M] : [M, K], types.a), b = random(transB ? [N, K] : [K, N], types.b);
  const g: Gemm<TestTensor> = { a, b, y: output([M, width], types.y), transA, transB, scale, accumulate, columns };
  if (accumulate || columns) g.y = random([M, width], types.y);
  if (plus) g.plus = random(plus === "vector" ? [width] : [M, width], types.plus);
  if (low) {
    const { R } = low;
    g.low = { a: random([M, R], types.low), b: random(transB ? [N, R] : [R, N], types.low), scale: low.scale };
  }
  const values = ({ data }: TestTensor) => data as Float32Array;
  const main = product(
    M,
    N,
    K,
    values(a),
    (m, k) => transA ? k * M + m : m * K + k,
    values(b),
    (k, n) => transB ? n * K + k : k * N + n,
  );
  const R = low?.R ?? 0;
  const second = low &&
    product(M, N, R, values(g.low!.a), (m, r) => m * R + r, values(g.low!.b), (r, n) => transB ? n * R + r : r * N + n);
  const expected = g.y.data ? Float64Array.from(values(g.y)) : new Float64Array(M * width);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      const i = m * width + start + n;
      let sum = (scale ?? 1) * main[m * N + n] + (low ? low.scale * second![m * N + n] : 0);
      if (plus) sum += values(g.plus!)[plus === "vector" ? start + n : i];
      expected[i] = sum + (accumulate ? expected[i] : 0);
    }
  }
  return { g, expected };
}

/**
 * Terms are at most |scale| in size and are added in some order: every addition rounds by 2^-24 of a partial sum, whose
 * random walk stays below 4 * sqrt(K), and so do K such errors: 4 * K * 2^-24 bounds them with room. A result in f16
 * takes one rounding of 2^-11 more; f16 factors of the tensor cores' low-rank part take one each.
 */
async function check(gpu: Gpu, given: Case): Promise<void> {
  const { K, low, types = {}, scale = 1 } = given;
  const { g, expected } = build(given), target = kernelTarget(gpu);
  const terms = Math.abs(scale) * K + Math.abs(low?.scale ?? 0) * (low?.R ?? 0) + 2;
  const atol = 4 * terms * 2 ** -24, rtol = types.y === "f16" ? 2 ** -11 : 0;
  for (const matrix of target.matrix && !given.kind ? [true, false] : [false]) {
    const what = `${JSON.stringify(given)}${matrix ? " with tensor cores" : ""}`;
    const unroll = given.unroll ?? target.unroll;
    const [found] = await runDispatches(gpu, gemm({ ...target, matrix, unroll }, g, given.kind), [g.y]);
    assertClose(found as Float32Array, expected, { rtol, atol, what });
  }
}

const layouts = [[false, false], [false, true], [true, false], [true, true]] as const;
const kinds: GemmKind[] = ["large", "small", "thin"];

// Software devices take seconds to compile a kernel: cases share their variants where they can.

gpuTest("gemm() multiplies matrices of any size in all four layouts", async (gpu) => {
  for (const kind of kinds) {
    for (const [transA, transB] of layouts) {
      const layout = { transA, transB, kind };
      await check(gpu, { M: 36, N: 132, K: 20, ...layout });
      await check(gpu, { M: 132, N: 8, K: 1100, ...layout });
      if (kind !== "small") continue;
      for (const [M, N, K] of [[1, 1, 1], [3, 5, 33], [17, 131, 3], [4, 257, 7]]) {
        await check(gpu, { M, N, K, ...layout });
      }
    }
  }
});

gpuTest("gemm() with large tiles and with thin ones at odd sizes", async (gpu) => {
  for (const kind of kinds) {
    // Large tiles want rows of whole vectors of four.
    const odd = kind === "large"
      ? [[131, 260, 20], [9, 4, 1036], [1, 132, 4]]
      : [[131, 257, 17], [9, 15, 1031], [1, 3, 1]];
    for (const [M, N, K] of odd) await check(gpu, { M, N, K, kind });
    const transposed = kind === "large" ? { M: 36, N: 17, K: 40 } : { M: 33, N: 17, K: 35 };
    await check(gpu, { ...transposed, transA: true, transB: true, kind });
  }
});

gpuTest("gemm() adds a low-rank product, a bias, a matrix, and to y itself, into columns of a wider y", async (gpu) => {
  const low = { R: 16, scale: 0.5 }, columns = { start: 7, width: 145 };
  for (const kind of kinds) {
    const sizes = { M: 37, N: 136, K: 36, kind };
    await check(gpu, { ...sizes, transB: true, low });
    await check(gpu, { ...sizes, low: { R: 7, scale: -2 }, plus: "matrix", columns, scale: 3 });
    await check(gpu, { ...sizes, transB: true, plus: "vector", columns });
    if (kind !== "small") continue;
    await check(gpu, { ...sizes, transA: true, M: 36, low, plus: "matrix", accumulate: true, scale: -0.25 });
    await check(gpu, { ...sizes, transA: true, transB: true, M: 36, low: { R: 1, scale: 1 }, plus: "vector" });
    await check(gpu, { ...sizes, low: { R: 520, scale: 1 }, accumulate: true, columns, scale: 0 });
  }
  await check(gpu, { M: 9, N: 10, K: 8, low: { R: 600, scale: 1 }, accumulate: true, kind: "thin" });
});

gpuTest("gemm() reads and writes f16 wherever it is asked to", async (gpu) => {
  if (!gpu.f16) return;
  for (const kind of kinds) {
    const sizes = { M: 35, N: 44, K: 40, transB: true, kind };
    await check(gpu, { ...sizes, types: { a: "f16", b: "f16", y: "f16" } });
    await check(gpu, {
      ...sizes,
      K: kind === "large" ? 36 : 33,
      low: { R: 8, scale: 2 },
      types: { a: "f16", low: "f16" },
    });
  }
  const types = { b: "f16", y: "f16", plus: "f16" } as const;
  await check(gpu, { M: 35, N: 44, K: 33, kind: "small", plus: "matrix", accumulate: true, types });
});

gpuTest("gemm() with large tiles and its loop written out", async (gpu, engine) => {
  // Where it is used; Dawn's loops are as fast.
  if (engine !== "webgpu") return;
  await check(gpu, { M: 132, N: 137, K: 36, transB: true, low: { R: 5, scale: 2 }, kind: "large", unroll: true });
});

gpuTest("gemm() picks a kernel by itself", async (gpu) => {
  const kernelOf = (M: number, N: number, K: number) => {
    const [a, b, y] = [[M, K], [K, N], [M, N]].map((shape) => output(shape));
    return gemm({ f16: true, matrix: false, maxBinding: 2 ** 31 }, { a, b, y }, "large")[0].kernel;
  };
  assert.deepEqual([kernelOf(3, 8, 12), kernelOf(3, 8, 11), kernelOf(3, 7, 12)], ["gemm_large", "gemm", "gemm"]);
  for (const [M, N, K] of [[1, 64, 64], [300, 200, 24], [16, 64, 700], [132, 132, 16]]) await check(gpu, { M, N, K });
});

gpuTest("gemm() on tensor cores, where there are any, and the same products without", async (gpu) => {
  if (!gpu.matrix) return;
  const half = { a: "f16", b: "f16", low: "f16" } as const, low = { R: 16, scale: 0.5 };
  for (const transB of [true, false]) {
    for (const [M, N, K] of [[16, 32, 64], [131, 264, 72], [40, 1024, 256], [1100, 1160, 136], [1030, 1288, 128]]) {
      const sizes = { M, N, K, transB };
      await check(gpu, { ...sizes, types: half });
      await check(gpu, { ...sizes, types: { ...half, y: "f16" }, low, plus: "vector", scale: 0.25 });
      await check(gpu, { ...sizes, types: { ...half, plus: "f16" }, low: { R: 40, scale: 2 }, plus: "matrix" });
      await check(gpu, { ...sizes, types: half, accumulate: true, columns: { start: 8, width: N + 24 } });
    }
    for (const N of [16, 32, 48, 64]) {
      for (const K of [1040, 1024]) await check(gpu, { M: 131, N, K, transB, types: half, scale: 2 });
      await check(gpu, { M: 1000, N, K: 64, transB, types: { ...half, y: "f16" } });
    }
  }
  for (const [M, N] of [[1032, 16], [16, 1032], [256, 24], [32, 520], [64, 512]]) {
    for (const K of [5, 500, 256]) await check(gpu, { M, N, K, transA: true, types: half });
  }
});

gpuTest("joinDispatches() computes the same in one dispatch", async (gpu) => {
  if (!gpu.matrix) return;
  let temps = 0;
  const half = (shape: [number, number]) => ({
    ...input(shape, randomFloats(shape[0] * shape[1], ++temps), "f16"),
    place: { input: `${temps}` },
  });
  const result = (shape: [number, number]) => ({ ...output(shape), place: { temp: ++temps } });
  const x = half([200, 264]), wide = [half([200, 264]), half([200, 72]), half([200, 520])];
  const thin = [half([200, 16]), half([200, 16]), half([200, 16])];
  const a = [half([16, 264]), half([16, 264]), half([16, 264])];
  const b = wide.map(({ shape: [, O] }) => half([O, 16]));
  const groups: Gemm<ReturnType<typeof half> | ReturnType<typeof result>>[][] = [
    a.map((each) => ({ a: x, b: each, y: result([200, 16]), transB: true })),
    wide.map((each, i) => ({ a: each, b: b[i], y: result([200, 16]), scale: 2 })),
    wide.map((each, i) => ({ a: each, b: thin[i], y: result([each.shape[1], 16]), transA: true })),
    thin.slice(0, 2).map((each) => ({ a: each, b: x, y: result([16, 264]), transA: true })),
  ];
  for (const group of groups) {
    const dispatches = group.flatMap((g) => gemm(kernelTarget(gpu), g)), wanted = group.map(({ y }) => y);
    const apart = await runDispatches(gpu, dispatches, wanted);
    const joined = joinDispatches(dispatches);
    assert.equal(joined.length, 1);
    const together = await runDispatches(gpu, joined, wanted), what = dispatches[0].kernel;
    // Sums over tokens are joined in wider parts, which add 200 terms of at most 1 in another order.
    const atol = what === "gemm_tokens_matrix" ? 4 * 200 * 2 ** -24 : 0;
    together.forEach((values, i) =>
      assertClose(values as Float32Array, apart[i] as Float32Array, { rtol: 0, atol, what })
    );
  }
});
