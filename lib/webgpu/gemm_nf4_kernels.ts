/**
 * Products of a few rows (several streams being decoded) with an NF4 matrix on tensor cores as kernel calls: every lane
 * writes out the codes that its subgroup multiplies next, so that nothing but the codes is read.
 */
import { type Dispatch, elements, type KernelTarget, type TensorLike } from "./dispatch.ts";
import type { Gemm, Sizes } from "./gemm_kernels.ts";
import type { Nf4Matrix } from "./gemv_kernels.ts";
import { nf4Layout } from "./nf4_kernels.ts";
import { bytesMoved } from "./vectors.ts";

/** Most rows of a: with more, W is written out and an ordinary product follows. */
export const mostNf4MatrixRows = 32;

/** Columns from which on 32 of them are made at a time, not 16. */
const wideResult = 8192;

/** A product with an NF4 matrix [N, K], b transposed, or undefined where the kernel does not take it. */
export function gemmNf4Matrix<T extends TensorLike>(
  target: KernelTarget,
  g: Omit<Gemm<T>, "b"> & { codes: Nf4Matrix<T> },
  { M, N, K, R }: Sizes,
): Dispatch<T> | undefined {
  const { a, y, low, plus, transA, transB, accumulate, columns, scale = 1, codes: { whole, double } } = g;
  const fits = M <= mostNf4MatrixRows && K % 32 === 0 && a.dtype === "f16";
  if (!target.matrix || !fits || transA || !transB || accumulate) return undefined;
  const width = columns?.width ?? N, constants: Record<string, number | string> = { Y: y.dtype };
  // Wide results have enough workgroups as it is, and each reads all of a.
  const outputs = N >= wideResult ? 32 : 16;
  if (M > 16) constants.fragments = "2u";
  if (outputs > 16) constants.outputs = "32u";
  if (double) constants.double = "true";
  if (plus) Object.assign(constants, { plusKind: elements(plus.shape) === M * width ? 2 : 1, Plus: plus.dtype });
  if (low) Object.assign(constants, { low: "true", LowA: low.a.dtype, LowB: low.b.dtype });
  const { parts } = nf4Layout(N * K, double !== undefined), { codes, absmax, nested } = parts;
  return {
    kernel: "gemm_nf4_matrix",
    constants,
    tensors: [a, whole, low?.a ?? null, low?.b ?? null, plus ?? null, y],
    params: [
      ...[M, N, K / 32, R, width, columns?.start ?? 0],
      ...[{ f32: scale }, { f32: low?.scale ?? 0 }, { f32: double?.offset ?? 0 }],
      ...[(codes ?? absmax).offset / 4, (nested ?? absmax).offset / 4],
    ],
    grid: [Math.ceil(N / outputs), 1, 1],
    work: {
      flop: 2 * M * N * (K + R),
      bytes: bytesMoved(a, { shape: [M, N], dtype: y.dtype }, ...low ? [low.a, low.b] : [], ...plus ? [plus] : []) +
        N * K / 2 + (double ? 1.02 : 4) * N * K / 64,
    },
  };
}
