/**
 * Products of a few rows (tokens being decoded) with a whole matrix as kernel calls. The time is that of reading the
 * matrix: every number of it is read once, NF4 as codes, and nothing is written but the result.
 */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import type { Gemm, Sizes } from "./gemm_kernels.ts";
import type { Nf4Codes } from "./nf4_kernels.ts";
import { bytesMoved } from "./vectors.ts";

/** Most rows of a: with more the multiplications take longer than reading b. */
export const mostGemvRows = 8;
/** Shorter sums leave most threads of a workgroup idle. */
const shortestDense = 256;

/** Whether these kernels take a product: few rows, b transposed, nothing added to y itself. */
function fits<T>({ transA, transB, accumulate }: Omit<Gemm<T>, "b">, { M }: Sizes): boolean {
  return M <= mostGemvRows && !transA && transB === true && !accumulate;
}

/** What both kernels are told: constants, and tensors and parameters of what is added. */
function common<T extends TensorLike>(
  { a, y, low, plus, columns, scale = 1 }: Omit<Gemm<T>, "b">,
  { M, N, R }: Sizes,
) {
  const width = columns?.width ?? N;
  const constants: Record<string, number | string> = {
    ...{ rows: `${M}u`, batch: `${Math.min(M, 4)}u`, half: `${a.dtype === "f16"}`, Y: y.dtype },
  };
  if (plus) Object.assign(constants, { plusKind: elements(plus.shape) === M * width ? 2 : 1, Plus: plus.dtype });
  if (low) Object.assign(constants, { low: "true", LowA: low.a.dtype, LowB: low.b.dtype });
  return {
    constants,
    added: [low?.a ?? null, low?.b ?? null, plus ?? null],
    params: [R, width, columns?.start ?? 0, { f32: scale }, { f32: low?.scale ?? 0 }],
    bytes: bytesMoved(a, { shape: [M, N], dtype: y.dtype }, ...low ? [low.a, low.b] : [], ...plus ? [plus] : []),
  };
}

/** A product with a dense matrix, or undefined where another kernel is better. */
export function gemv<T extends TensorLike>(g: Gemm<T>, sizes: Sizes): Dispatch<T> | undefined {
  const { M, N, K, R } = sizes;
  if (!fits(g, sizes) || K % 8 !== 0 || K < shortestDense) return undefined;
  const { constants, added, params, bytes } = common(g, sizes);
  return {
    kernel: "gemv",
    constants: { ...constants, halfW: `${g.b.dtype === "f16"}` },
    tensors: [g.a, g.b, ...added, g.y],
    params: [N, K / 8, ...params],
    grid: spread(Math.ceil(N / 4)),
    work: { flop: 2 * M * N * (K + R), bytes: bytes + bytesMoved(g.b) },
  };
}

/** Logarithm of the neighbours that share what they read of x, where enough workgroups are left for a large GPU. */
function shareOf({ N, K }: Sizes): number {
  if (K <= 1024 || N >= 8192) return 2;
  return N >= 4096 ? 1 : 0;
}

/** A product with an NF4 matrix [N, K], or undefined where it has to be written out first. */
export function gemvNf4<T extends TensorLike>(
  g: Omit<Gemm<T>, "b"> & { codes: Nf4Codes<T> },
  sizes: Sizes,
): Dispatch<T> | undefined {
  const { M, N, K, R } = sizes, { packed, absmax, double } = g.codes;
  if (!fits(g, sizes) || K % 32 !== 0) return undefined;
  const { constants, added, params, bytes } = common(g, sizes), share = shareOf(sizes);
  return {
    kernel: "gemv_nf4",
    constants: double ? { ...constants, double: "true" } : constants,
    tensors: [g.a, packed, absmax ?? double!.nested, double?.codes ?? null, ...added, g.y],
    params: [N, K / 32, ...params, { f32: double?.offset ?? 0 }, share],
    grid: spread(Math.ceil(N / (4 << share))),
    work: { flop: 2 * M * N * (K + R), bytes: bytes + N * K / 2 + (double ? 1.02 : 4) * N * K / 64 },
  };
}
