/** Matrix products as kernel calls: which kernel and tile for which shape, operands read as they lie. */
import { type Dispatch, elements, type KernelTarget, type TensorLike } from "./dispatch.ts";
import { gemmMatrix } from "./gemm_matrix_kernels.ts";
import { gemv } from "./gemv_kernels.ts";
import { bytesMoved, widthOf } from "./vectors.ts";

/**
 * y = scale * op(a) * op(b) + low + plus, all sums in f32. a is [M, K], or [K, M] with transA; b is [K, N], or [N, K]
 * with transB; y is [M, N]. Operands and results are f16 or f32 each.
 */
export interface Gemm<T> {
  a: T;
  b: T;
  y: T;
  transA?: boolean;
  transB?: boolean;
  scale?: number;
  /** Added: of y's shape, or a vector over y's columns. Never y itself. */
  plus?: T;
  /** y += instead of y =. */
  accumulate?: boolean;
  /**
   * low.scale * low.a [M, R] * op(low.b), with low.b [N, R] where transB, else [R, N]: LoRA's second product as a
   * continuation of K, so that y is written once.
   */
  low?: { a: T; b: T; scale: number };
  /** y is [M, width] and the product its columns from `start` on: for weights split by rows. */
  columns?: { start: number; width: number };
}

/** Tiles of 128 x 128, for rows of whole vectors of four, and of 32 x 32; 8 x 8 with threads along K. */
export type GemmKind = "large" | "small" | "thin";

/** y is [M, N]; sums go over K and, where there is a `low`, over R. */
export interface Sizes {
  M: number;
  N: number;
  K: number;
  R: number;
}

/**
 * Workgroups that a large GPU runs at a time, and microseconds of each kernel's step along K there: at best (waiting
 * for memory), and for every further workgroup on the same processor.
 */
const processors = 132;
const largeStep = 2.1, smallStep = { least: 0.8, each: 0.36 }, thinStep = { least: 1, each: 0.6, end: 4 };

/** The kernel that is probably fastest: large tiles where there are enough of them, else more and smaller workgroups. */
export function gemmKind({ M, N, K }: Omit<Sizes, "R">): GemmKind {
  const rounds = (tile: number) => Math.ceil(Math.ceil(M / tile) * Math.ceil(N / tile) / processors);
  const steps = Math.ceil(K / 16);
  const costs: Record<GemmKind, number> = {
    large: largeStep * rounds(128) * steps,
    small: Math.max(smallStep.least, smallStep.each * rounds(32)) * steps,
    thin: Math.max(thinStep.least, thinStep.each * rounds(8)) * Math.ceil(K / 512) +
      thinStep.end * Math.max(1, rounds(8) / 8),
  };
  return (Object.keys(costs) as GemmKind[]).reduce((best, kind) => costs[kind] < costs[best] ? kind : best);
}

/** An Error when the shapes do not belong together. */
export function sizesOf<T extends TensorLike>(
  { a, b, y, transA, transB, plus, low, columns }: Gemm<T>,
): Sizes {
  const [M, K] = transA ? [a.shape[1], a.shape[0]] : a.shape;
  const [N, depth] = transB ? b.shape : [b.shape[1], b.shape[0]];
  const width = columns?.width ?? N, start = columns?.start ?? 0;
  const R = low ? low.a.shape[1] : 0;
  const fits = K === depth && elements(y.shape) === M * width && start + N <= width &&
    (!plus || elements(plus.shape) === M * width || elements(plus.shape) === width) &&
    (!low || low.a.shape[0] === M && elements(low.b.shape) === N * R && low.b.shape[transB ? 0 : 1] === N);
  if (!fits) {
    const shapes = [a, b, y, plus, low?.a, low?.b].map((tensor) => tensor ? `[${tensor.shape}]` : "none");
    throw new Error(`gemm: a, b, y, plus, low.a, low.b do not belong together: ${shapes.join(" ")}`);
  }
  return { M, N, K, R };
}

const wide = (...tensors: TensorLike[]) => tensors.every((tensor) => widthOf(tensor) % 4 === 0);

/** The product as dispatches, by the kernel that suits its shape unless one is named. */
export function gemm<T extends TensorLike>(target: KernelTarget, g: Gemm<T>, kind?: GemmKind): Dispatch<T>[] {
  const sizes = sizesOf(g), { M, N, K, R } = sizes, { a, b, y, low, plus, scale = 1 } = g;
  const special = kind ? undefined : gemv(g, sizes) ?? (target.matrix ? gemmMatrix(g, sizes) : undefined);
  if (special) return [special];
  kind ??= gemmKind({ M, N, K: K + R });
  if (kind === "large" && !wide(a, b)) kind = "small";
  const { kernel, tile, ends } = {
    large: { kernel: "gemm_large", tile: 128, ends: [8, 4] },
    small: { kernel: "gemm", tile: 32, ends: [16, 4] },
    thin: { kernel: "gemm_thin", tile: 8, ends: [Math.min(128, Math.ceil(Math.max(K, R) / 4))] },
  }[kind];
  const width = g.columns?.width ?? N;
  const constants: Record<string, number | string> = { A: a.dtype, B: b.dtype, Y: y.dtype };
  if (g.transA) constants.transA = "true";
  if (g.transB) constants.transB = "true";
  if (kind === "large" && K % 16 !== 0) constants.ragged = "true";
  if (kind === "large" && target.unroll) constants.unrolled = "true";
  if (kind !== "large" && wide(a, b)) constants.wide = "true";
  if (g.accumulate) constants.accumulate = "true";
  if (plus) Object.assign(constants, { plusKind: elements(plus.shape) === M * width ? 2 : 1, Plus: plus.dtype });
  if (low) {
    Object.assign(constants, { low: "true", LowA: low.a.dtype, LowB: low.b.dtype });
    if (kind !== "large" && wide(low.a, low.b)) constants.wideLow = "true";
  }
  const lowScale = low ? low.scale / (kind === "large" ? scale : 1) : 0;
  return [{
    kernel,
    constants,
    tensors: [a, b, low?.a ?? null, low?.b ?? null, plus ?? null, y],
    params: [M, N, K, R, width, g.columns?.start ?? 0, { f32: scale }, { f32: lowScale }, ...ends],
    grid: [Math.ceil(N / tile), Math.ceil(M / tile), 1],
    work: {
      flop: 2 * M * N * (K + R),
      bytes: bytesMoved(a, b, { shape: [M, N], dtype: y.dtype }, ...low ? [low.a, low.b] : [], ...plus ? [plus] : []),
    },
  }];
}
