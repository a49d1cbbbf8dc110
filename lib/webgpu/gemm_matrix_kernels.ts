/** Matrix products on tensor cores as kernel calls: which products kernels/gemm_matrix.wgsl takes, and in which tiles. */
import { type Dispatch, elements, type TensorLike } from "./dispatch.ts";
import type { Gemm } from "./gemm_kernels.ts";
import { bytesMoved } from "./vectors.ts";

/** Fewer tiles than this of 128 x 128 leave most of a large GPU idle: smaller ones then, at half the speed each. */
const fewTiles = 80;

/** Largest rank that continues K; a larger one is a product of its own. */
const largestRank = 256;

/**
 * The product as one dispatch, or undefined when the kernel does not take it: f16 operands, a not transposed, K, N and
 * the rank in whole vectors of 8, and enough of everything that tiles of 64 are worth it.
 */
export function gemmMatrix<T extends TensorLike>(
  g: Gemm<T>,
  { M, N, K, R }: { M: number; N: number; K: number; R: number },
): Dispatch<T> | undefined {
  const { a, b, y, low, plus, transA, transB, scale = 1 } = g;
  const width = g.columns?.width ?? N, start = g.columns?.start ?? 0;
  const half = [a, b, ...low ? [low.a, low.b] : []].every(({ dtype }) => dtype === "f16");
  const whole = [K, N, R, width, start].every((size) => size % 8 === 0);
  if (!half || !whole || transA || M < 16 || N < 32 || R > largestRank) return undefined;
  const small = Math.ceil(M / 128) * Math.ceil(N / 128) < fewTiles;
  const constants: Record<string, number | string> = small
    ? { fragments: "2u", columns: "2u", Y: y.dtype }
    : { Y: y.dtype };
  if (!transB) constants.transB = "false";
  if (low) constants.low = "true";
  if (g.accumulate) constants.accumulate = "true";
  if (plus) Object.assign(constants, { plusKind: elements(plus.shape) === M * width ? 2 : 1, Plus: plus.dtype });
  const tile = small ? 64 : 128;
  return {
    kernel: "gemm_matrix",
    constants,
    tensors: [a, b, low?.a ?? null, low?.b ?? null, plus ?? null, y],
    params: [M, N, K, R, width, start, { f32: scale }, { f32: low ? low.scale / scale : 0 }],
    grid: [Math.ceil(N / tile), Math.ceil(M / tile), 1],
    work: {
      flop: 2 * M * N * (K + R),
      bytes: bytesMoved(a, b, { shape: [M, N], dtype: y.dtype }, ...low ? [low.a, low.b] : [], ...plus ? [plus] : []),
    },
  };
}
