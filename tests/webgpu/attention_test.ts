import assert from "node:assert/strict";
import { assertClose } from "../helpers/close.ts";
import { assertGradient } from "../helpers/finite_difference.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, halved, input, output, runDispatches, type TestTensor } from "../helpers/webgpu.ts";
import {
  attention,
  attentionBackward,
  attentionCached,
  attentionCachedPartialShape,
  attentionDeltaShape,
} from "../../lib/webgpu/attention_kernels.ts";
import { type Gpu, kernelTarget } from "../../lib/webgpu/device.ts";
import type { Dtype, KernelTarget } from "../../lib/webgpu/dispatch.ts";
import { attention64, attentionBackward64, attentionCached64, spansOf } from "../reference/attention_spans_float64.ts";

/**
 * f32: a score is a sum of S <= 256 products below 1 times scale, wrong by some 1e-7; exp() may be wrong by 3 + 2|x|
 * ulp, 1e-6 for the scores here; sums of weights times values add little. Bounds are for the largest element.
 */
const single = 1e-5;
/** Inputs are f16 to begin with; weights, differences of weights and results are rounded to 11 bits. */
const half = 3e-3;
/**
 * The same with sums: on tensor cores weights, ds and results are rounded once to 11 bits (2^-11 = 4.9e-4 at most,
 * each), and the gradient reads the rounded y; errors of terms have signs of their own and add up like the terms. These
 * roundings on the f16 cases below, in float64 otherwise, come to at most 4.2e-4; this is twice 2^-11.
 */
const halfSums = 2 ** -10;

interface Case {
  rows: number[];
  heads: number;
  kvHeads: number;
  size: number;
  window?: number;
  dtype?: Dtype;
  /** Keys grow from 0 to this many times their size, so that later tiles of keys hold larger and larger scores. */
  rising?: number;
  /** Compiling large kernels for a CPU takes long: there Deno's engine has to do. */
  slow?: boolean;
}

const name = ({ rows, heads, kvHeads, size, window, rising, dtype = "f32" }: Case) =>
  `rows of ${rows}, ${heads}/${kvHeads} heads of ${size}${window ? `, window ${window}` : ""}` +
  `${rising ? ", rising scores" : ""}, ${dtype}`;

/** The device as it is, and without subgroup matrices where it has them. */
function targetsOf(gpu: Gpu): KernelTarget[] {
  const target = kernelTarget(gpu);
  return target.matrix ? [target, { ...target, matrix: false }] : [target];
}

/** 1e-4 in place of nothing where everything cancels: the gradient of a query that sees one key is 0. */
function assertNear(actual: ArrayLike<number>, expected: ArrayLike<number>, rtol: number, what: string): void {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i]));
  assertClose(actual, expected, { rtol, atol: rtol * Math.max(largest, 0.1), what });
}

const cases: Case[] = [
  { rows: [1], heads: 1, kvHeads: 1, size: 4 },
  { rows: [17], heads: 2, kvHeads: 1, size: 6 },
  { rows: [5, 17, 1, 40], heads: 4, kvHeads: 2, size: 32 },
  { rows: [50, 33], heads: 4, kvHeads: 2, size: 32, window: 1 },
  { rows: [150, 90], heads: 3, kvHeads: 3, size: 32, window: 16 },
  { rows: [70, 3, 64], heads: 6, kvHeads: 2, size: 64, slow: true },
  { rows: [33, 100], heads: 2, kvHeads: 1, size: 96, slow: true },
  { rows: [130, 1, 65], heads: 4, kvHeads: 1, size: 128, slow: true },
  { rows: [20, 50], heads: 2, kvHeads: 1, size: 256, slow: true },
  { rows: [9, 30], heads: 2, kvHeads: 2, size: 250, slow: true },
  { rows: [90, 7], heads: 2, kvHeads: 1, size: 32, dtype: "f16" },
  { rows: [140, 7, 66], heads: 4, kvHeads: 2, size: 64, dtype: "f16", slow: true },
  { rows: [17, 130], heads: 4, kvHeads: 1, size: 128, dtype: "f16", slow: true },
  { rows: [150, 30], heads: 2, kvHeads: 1, size: 128, dtype: "f16", window: 40, slow: true },
  { rows: [67, 1, 130], heads: 8, kvHeads: 2, size: 64, dtype: "f16", slow: true },
  { rows: [129, 70], heads: 4, kvHeads: 1, size: 64, dtype: "f16", window: 33, slow: true },
  { rows: [33, 95, 3], heads: 8, kvHeads: 2, size: 128, dtype: "f16", window: 50, slow: true },
  { rows: [90, 70], heads: 2, kvHeads: 1, size: 32, rising: 4 },
  { rows: [200, 31], heads: 4, kvHeads: 1, size: 64, dtype: "f16", rising: 4, slow: true },
  { rows: [31, 200], heads: 2, kvHeads: 1, size: 128, dtype: "f16", rising: 4, slow: true },
];

for (const each of cases) {
  const { rows, heads, kvHeads, size: S, window = Infinity, rising, dtype = "f32" } = each;
  gpuTest(`attention() and its gradients: ${name(each)}`, async (gpu, engine) => {
    if (dtype === "f16" && !gpu.f16 || each.slow && gpu.software && engine === "dawn") return;
    const T = rows.reduce((a, b) => a + b, 0), rtol = dtype === "f16" ? halfSums : single;
    const wide: [number, number] = [T, heads * S], narrow: [number, number] = [T, kvHeads * S];
    const rounded = (floats: Float32Array<ArrayBuffer>) => dtype === "f16" ? halved(floats) : floats;
    const data = (count: number, seed: number) => rounded(randomFloats(count, seed));
    /** How many times its size the key of element i has. */
    const growth = (i: number) => rising ? rising * (Math.floor(i / (kvHeads * S)) + 1) / T : 1;
    const spans = spansOf(rows, window), options = { heads, kvHeads, scale: 1.5 / Math.sqrt(S) };
    const host = {
      q: data(T * heads * S, 1).map((x) => 2 * x),
      k: rounded(data(T * kvHeads * S, 2).map((x, i) => 2 * x * growth(i))),
      v: data(T * kvHeads * S, 3),
      dy: data(T * heads * S, 4),
      spans,
    };
    const expected = { ...attention64(host, options), ...attentionBackward64(host, options) };
    for (const target of targetsOf(gpu)) {
      const q = input(wide, host.q, dtype), k = input(narrow, host.k, dtype), v = input(narrow, host.v, dtype);
      const dy = input(wide, host.dy, dtype), seen = input([T, 2], spans);
      const y = output(wide, dtype), lse = output([T, heads]), delta = output(attentionDeltaShape(q, options));
      const dq = output(wide, dtype), dk = output(narrow, dtype), dv = output(narrow, dtype);
      const dispatches = [
        ...attention(target, { q, k, v, spans: seen, y, lse }, options),
        ...attentionBackward(target, { dy, q, k, v, y, lse, spans: seen, delta, dq, dk, dv }, options),
      ];
      if (dtype === "f16" && (S === 64 || S === 128)) {
        const large = dispatches.filter(({ kernel }) => kernel !== "attention_delta");
        assert.ok(
          large.every(({ kernel }) => kernel.endsWith("_matrix") === target.matrix),
          "kernels of the target",
        );
      }
      const results = await runDispatches(gpu, dispatches, [y, lse, dq, dk, dv]);
      (["y", "lse", "dq", "dk", "dv"] as const).forEach((what, i) =>
        assertNear(results[i], expected[what], rtol, `${what}${target.matrix ? " (matrix)" : ""}`)
      );
    }
  });
}

gpuTest("attentionBackward() agrees with differences of attention", async (gpu) => {
  const rows = [3, 6], T = 9, options = { heads: 2, kvHeads: 1, scale: 0.7 }, S = 4, spans = spansOf(rows, 4);
  const host = {
    q: Float64Array.from(randomFloats(T * 2 * S, 1)),
    k: Float64Array.from(randomFloats(T * S, 2)),
    v: Float64Array.from(randomFloats(T * S, 3)),
    spans,
  };
  const weights = randomFloats(T * 2 * S, 4);
  const f = () => attention64(host, options).y.reduce((sum, y, i) => sum + y * weights[i], 0);
  const tensor = (data: Float64Array) => input([T, data.length / T], Float32Array.from(data));
  const q = tensor(host.q), k = tensor(host.k), v = tensor(host.v), dy = input([T, 2 * S], weights);
  const seen = input([T, 2], spans), y = output([T, 2 * S]), lse = output([T, 2]), delta = output([T, 2, 2]);
  const dq = output([T, 2 * S]), dk = output([T, S]), dv = output([T, S]);
  const dispatches = [
    ...attention(kernelTarget(gpu), { q, k, v, spans: seen, y, lse }, options),
    ...attentionBackward(kernelTarget(gpu), { dy, q, k, v, y, lse, spans: seen, delta, dq, dk, dv }, options),
  ];
  const gradients = await runDispatches(gpu, dispatches, [dq, dk, dv]);
  (["q", "k", "v"] as const).forEach((what, i) =>
    assertGradient(f, { x: host[what], gradient: gradients[i], what: `d${what}`, rtol: single })
  );
});

interface CachedCase extends Omit<Case, "rows" | "window"> {
  slots: number;
  lengths: [number, number][];
}

const cachedCases: CachedCase[] = [
  { slots: 40, lengths: [[0, 1], [3, 40], [0, 33]], heads: 4, kvHeads: 2, size: 32 },
  { slots: 300, lengths: [[0, 300], [7, 7], [250, 290]], heads: 8, kvHeads: 2, size: 32 },
  { slots: 70, lengths: [[0, 70]], heads: 2, kvHeads: 1, size: 6 },
  { slots: 130, lengths: [[0, 130], [1, 2]], heads: 3, kvHeads: 1, size: 256, slow: true },
  { slots: 700, lengths: [[11, 650]], heads: 20, kvHeads: 2, size: 128, dtype: "f16", slow: true },
];

for (const { slots: C, lengths, heads, kvHeads, size: S, dtype = "f32", slow } of cachedCases) {
  const title = `${lengths.length} x ${C} slots, ${heads}/${kvHeads} heads of ${S}, ${dtype}`;
  gpuTest(`attentionCached(): ${title}`, async (gpu, engine) => {
    if (dtype === "f16" && !gpu.f16 || slow && gpu.software && engine === "dawn") return;
    const B = lengths.length, options = { heads, kvHeads, scale: 2 / Math.sqrt(S) };
    const data = (count: number, seed: number) => halved(randomFloats(count, seed));
    const host = {
      q: data(B * heads * S, 1).map((x) => 2 * x),
      keys: data(B * C * kvHeads * S, 2),
      values: data(B * C * kvHeads * S, 3),
      spans: Int32Array.from(lengths.flatMap((ends, b) => ends.map((c) => b * C + c))),
    };
    const expected = attentionCached64(host, options);
    // What lies outside the visible slots must not be read.
    for (let b = 0; b < B; b++) {
      for (let c = 0; c < C; c++) {
        if (c >= lengths[b][0] && c < lengths[b][1]) continue;
        const at = (b * C + c) * kvHeads * S;
        host.keys.fill(NaN, at, at + kvHeads * S);
        host.values.fill(NaN, at, at + kvHeads * S);
      }
    }
    // The cache may be f16 where the query is f32.
    for (const queryType of new Set<Dtype>([dtype, "f32"])) {
      const q = input([B, heads * S], host.q, queryType), y = output([B, heads * S], queryType);
      const keys = input([B, C, kvHeads * S], host.keys, dtype),
        values = input([B, C, kvHeads * S], host.values, dtype);
      const shape = attentionCachedPartialShape({ q, keys }, options);
      const partial: TestTensor | undefined = shape && output(shape);
      const tensors = { q, keys, values, spans: input([B, 2], host.spans), y, partial };
      const dispatches = attentionCached(kernelTarget(gpu), tensors, options);
      assert.equal(dispatches.length, partial ? 2 : 1);
      const [found] = await runDispatches(gpu, dispatches, [y]);
      assertClose(found, expected, { rtol: queryType === "f16" ? half : single });
    }
  });
}
