/**
 * Matrix products on tensor cores as kernel calls: which products kernels/gemm_*matrix.wgsl take, and in which tiles.
 * Besides the general one there are two for LoRA's thin matrices, where all the work lies along K.
 */
import { type Dispatch, elements, type TensorLike } from "./dispatch.ts";
import type { Gemm, Sizes } from "./gemm_kernels.ts";
import { bytesMoved } from "./vectors.ts";

/** Fewer tiles than this of 128 x 128 leave most of a large GPU idle: smaller ones then, at half the speed each. */
const fewTiles = 80;

/** Largest rank that continues K; a larger one is a product of its own. */
const largestRank = 256;
/** From this width on sums over tokens have enough workgroups of 64 columns for a large GPU. */
const wideSum = 8192;
/** Most columns of a thin operand: four fragments. */
const thinnest = 64;

/** Bindings of a second and a third product in the same dispatch. */
const noOthers = [null, null, null, null, null, null];

/** The product as one dispatch on tensor cores, or undefined when no kernel there takes it. */
export function gemmMatrix<T extends TensorLike>(g: Gemm<T>, sizes: Sizes): Dispatch<T> | undefined {
  return thinProduct(g, sizes) ?? tokenSum(g, sizes) ?? tiledProduct(g, sizes);
}

/** Few columns: y [M, N] with N of 16, 32 or 64, and nothing added. */
function thinProduct<T extends TensorLike>(g: Gemm<T>, { M, N, K }: Sizes): Dispatch<T> | undefined {
  const { a, b, y, transA, transB, scale = 1 } = g;
  const fits = [16, 32, 64].includes(N) && K % 8 === 0 && a.dtype === "f16" && b.dtype === "f16" && a !== b;
  if (!fits || M < 2 || transA || g.low || g.plus || g.accumulate || g.columns) return undefined;
  const constants: Record<string, number | string> = { fragments: `${N / 16}u`, Y: y.dtype };
  if (!transB) constants.transB = "false";
  if (K % (512 / (N / 16)) !== 0) constants.ragged = "true";
  return {
    kernel: "gemm_thin_matrix",
    constants,
    tensors: [a, b, y, ...noOthers],
    params: [M, N, { f32: scale }, K, 0, 0],
    grid: [Math.ceil(M / 16), 1, 1],
    work: { flop: 2 * M * N * K, bytes: bytesMoved(a, b, y) },
  };
}

/** A sum over tokens of a wide and a thin operand, a transposed: y [M, N] with one of them at most 64. */
function tokenSum<T extends TensorLike>(g: Gemm<T>, { M, N, K }: Sizes): Dispatch<T> | undefined {
  const { a, b, y, transA, transB, scale = 1 } = g;
  const turned = M < N, [wide, thin] = turned ? [b, a] : [a, b], [C, R] = turned ? [N, M] : [M, N];
  const fits = R <= thinnest && C % 8 === 0 && R % 8 === 0 && a.dtype === "f16" && b.dtype === "f16" && a !== b;
  if (!fits || !transA || transB || g.low || g.plus || g.accumulate || g.columns) return undefined;
  const fragments = R <= 16 ? 1 : R <= 32 ? 2 : 4, columns = C < wideSum && fragments < 4 ? 32 : 64;
  const ragged = K % (8192 / columns) !== 0 || R !== 16 * fragments;
  return {
    kernel: "gemm_tokens_matrix",
    constants: {
      fragments: `${fragments}u`,
      Y: y.dtype,
      ...turned ? { turned: "true" } : {},
      ...ragged ? { ragged: "true" } : {},
      ...columns === 32 ? { columns: "32u" } : {},
    },
    tensors: [wide, thin, y, ...noOthers],
    params: [K, R, { f32: scale }, C, 0, 0],
    grid: [Math.ceil(C / columns), 1, 1],
    work: { flop: 2 * M * N * K, bytes: bytesMoved(a, b, y) },
  };
}

/**
 * The product as one dispatch, or undefined when the kernel does not take it: f16 operands, a not transposed, K, N and
 * the rank in whole vectors of 8, and enough of everything that tiles of 64 are worth it.
 */
function tiledProduct<T extends TensorLike>(
  g: Gemm<T>,
  { M, N, K, R }: Sizes,
): Dispatch<T> | undefined {
  const { a, b, y, low, plus, transA, transB, scale = 1 } = g;
  const width = g.columns?.width ?? N, start = g.columns?.start ?? 0;
  const half = [a, b, ...low ? [low.a, low.b] : []].every(({ dtype }) => dtype === "f16");
  const whole = [K, N, R, width, start].every((size) => size % 8 === 0);
  if (!half || !whole || transA || a === b || M < 16 || N < 32 || R > largestRank) return undefined;
  const small = Math.ceil(M / 128) * Math.ceil(N / 128) < fewTiles;
  const constants: Record<string, number | string> = small
    ? { fragments: "2u", columns: "2u", Y: y.dtype }
    : { Y: y.dtype };
  if (!transB) constants.transB = "false";
  if (low) constants.low = "true";
  if (K % 64 !== 0) constants.ragged = "true";
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
