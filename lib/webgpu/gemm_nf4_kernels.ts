/**
 * Products of a few rows (several streams being decoded) with an NF4 matrix on tensor cores as kernel calls: a workgroup
 * writes out the codes that it multiplies next, so that nothing but the codes is read.
 */
import type { Dispatch, KernelTarget, TensorLike } from "./dispatch.ts";
import type { Gemm, Sizes } from "./gemm_kernels.ts";
import { additions, type Nf4Matrix } from "./gemv_kernels.ts";
import { nf4Bytes, nf4Layout } from "./nf4_kernels.ts";

/** Most rows of a: with more, W is written out and an ordinary product follows. */
const mostRows = 32;

/** Columns from which on 32 of them are made at a time, not 16. */
const wideResult = 8192;

/** A product with an NF4 matrix [N, K], b transposed, or undefined where the kernel does not take it. */
export function gemmNf4Matrix<T extends TensorLike>(
  target: KernelTarget,
  g: Omit<Gemm<T>, "b"> & { codes: Nf4Matrix<T> },
  sizes: Sizes,
): Dispatch<T> | undefined {
  const { M, N, K, R } = sizes;
  const { a, y, transA, transB, accumulate, codes: { whole, double } } = g;
  const fits = M <= mostRows && K % 32 === 0 && a.dtype === "f16";
  if (!target.matrix || !fits || transA || !transB || accumulate) return undefined;
  const { constants, added, params, bytes } = additions(g, sizes);
  // Wide results have enough workgroups as it is, and each reads all of a.
  const outputs = N >= wideResult ? 32 : 16;
  if (M > 16) constants.fragments = "2u";
  if (outputs > 16) constants.outputs = "32u";
  if (double) constants.double = "true";
  const { parts } = nf4Layout(N * K, double !== undefined), { codes, absmax, nested } = parts;
  return {
    kernel: "gemm_nf4_matrix",
    constants,
    tensors: [a, whole, ...added, y],
    params: [
      ...[M, N, K / 32, ...params, { f32: double?.offset ?? 0 }],
      ...[(codes ?? absmax).offset / 4, (nested ?? absmax).offset / 4],
    ],
    grid: [Math.ceil(N / outputs), 1, 1],
    work: { flop: 2 * M * N * (K + R), bytes: bytes + nf4Bytes(N * K, double !== undefined) },
  };
}
