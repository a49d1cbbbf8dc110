/**
 * Attention as kernel calls: causal, grouped heads, packed rows, scores never stored. What a query sees is `spans`,
 * i32 [T, 2]: keys spans[t][0] .. t; and a key u is seen by the queries u .. spans[u][1] - 1. Both columns never
 * decrease with t; they say causality, the rows of a packed batch and sliding windows at once.
 */
import type { AttentionOptions } from "../ops.ts";
import { type Dispatch, type KernelTarget, spread, type TensorLike } from "./dispatch.ts";

/** Queries of a workgroup; keys of one in the gradient of keys and values. */
const tile = 64;
/** Dimensions whose sums a workgroup of attention_backward_dkdv holds. */
const sumsAtOnce = 128;

/** SLICES of 32 dimensions of a head, a constant, and heads, kvHeads, group, size, parameters. Throws where no kernel fits. */
function headsOf(q: TensorLike, { heads, kvHeads }: { heads: number; kvHeads: number }) {
  const size = q.shape[1] / heads, group = heads / kvHeads;
  if (!(size % 2 === 0 && size <= 256 && Number.isInteger(group))) {
    throw new Error(`attention: no kernel for ${heads}/${kvHeads} heads of ${size}`);
  }
  return { size, group, SLICES: Math.ceil(size / 32), numbers: [heads, kvHeads, group, size] };
}

function sameDtype(...[first, ...rest]: TensorLike[]): TensorLike["dtype"] {
  if (rest.some(({ dtype }) => dtype !== first.dtype)) throw new Error("attention: element types differ");
  return first.dtype;
}

/** Whether there are kernels on tensor cores for heads of this size. */
function takesMatrix(target: KernelTarget, { size, type }: { size: number; type: TensorLike["dtype"] }): boolean {
  return target.matrix && type === "f16" && (size === 64 || size === 128);
}

/** Operations of `products` matrix products over the visible half of the scores: an upper bound, rows unknown. */
function flopOf(q: TensorLike, products: number): number {
  const [T, width] = q.shape;
  return products * T * T * width;
}

/** y = softmax(scale * q*k^T) * v [T, H*S], and lse [T, H], which the gradient reads. q, k, v have one element type. */
export function attention<T extends TensorLike>(
  target: KernelTarget,
  { q, k, v, spans, y, lse }: { q: T; k: T; v: T; spans: T; y: T; lse: T },
  options: AttentionOptions,
): Dispatch<T>[] {
  const [count] = q.shape, { size, SLICES, numbers } = headsOf(q, options), type = sameDtype(q, k, v);
  // On tensor cores q, k and v are bound for writing: there they have to be three buffers, or parts of one.
  const matrix = takesMatrix(target, { size, type });
  return [{
    kernel: matrix ? "attention_matrix" : "attention",
    constants: matrix ? { Out: y.dtype, HEAD: `${size}u` } : { In: type, Out: y.dtype, SLICES },
    tensors: [q, k, v, spans, y, lse],
    params: [count, ...numbers, { f32: options.scale }],
    grid: [options.heads, Math.ceil(count / tile), 1],
    work: { flop: flopOf(q, 2) },
  }];
}

/** Shape of `delta`, f32 scratch of attentionBackward. */
export function attentionDeltaShape(q: TensorLike, { heads }: { heads: number }): [number, number, number] {
  return [q.shape[0], heads, 2];
}

/**
 * Gradients of attention; y and lse are what it gave. q, k, v have one element type, dk and dv another.
 * delta: f32 [T, H, 2] scratch.
 */
export function attentionBackward<T extends TensorLike>(
  target: KernelTarget,
  tensors: { dy: T; q: T; k: T; v: T; y: T; lse: T; spans: T; delta: T; dq: T; dk: T; dv: T },
  options: AttentionOptions,
): Dispatch<T>[] {
  const { dy, q, k, v, y, lse, spans, delta, dq, dk, dv } = tensors, { heads, kvHeads, scale } = options;
  const { size, SLICES, numbers } = headsOf(q, options), [count] = q.shape;
  const expected = attentionDeltaShape(q, options);
  if (`${delta.shape}` !== `${expected}`) throw new Error(`attention: delta is [${delta.shape}], not [${expected}]`);
  const type = sameDtype(q, k, v), matrix = takesMatrix(target, { size, type }) && dy.dtype === "f16";
  const constants: Record<string, number | string> = matrix
    ? { HEAD: `${size}u` }
    : { Grad: dy.dtype, In: type, SLICES };
  const params = [count, ...numbers, { f32: scale }], tiles = Math.ceil(count / tile);
  return [{
    kernel: "attention_delta",
    constants: { Grad: dy.dtype, Y: y.dtype },
    tensors: [dy, y, lse, delta],
    params: [count * heads, size / 2],
    grid: spread(Math.ceil(count * heads / 16)),
  }, {
    kernel: matrix ? "attention_backward_dq_matrix" : "attention_backward_dq",
    constants: { ...constants, Out: dq.dtype },
    tensors: [dy, q, k, v, delta, spans, dq],
    params,
    grid: [heads, tiles, 1],
    work: { flop: flopOf(q, 3) },
  }, {
    kernel: matrix ? "attention_backward_dkdv_matrix" : "attention_backward_dkdv",
    constants: { ...constants, Out: sameDtype(dk, dv) },
    tensors: [dy, q, k, v, delta, spans, dk, dv],
    params,
    grid: [kvHeads, tiles, matrix ? 1 : Math.ceil(size / sumsAtOnce)],
    work: { flop: flopOf(q, 4) },
  }];
}

/** Query heads of a workgroup of attention_cached. */
const headsAtOnce = 8;

/**
 * Parts of the context: enough workgroups for a large GPU, four a processor; of one tile of 32 when the cache is full, and
 * of two where that would be more than 32 parts, which have to be put together again. At most 64: see the combining kernel.
 */
function splitsOf(q: TensorLike, keys: TensorLike, { heads, kvHeads }: { heads: number; kvHeads: number }): number {
  const workgroups = q.shape[0] * kvHeads * Math.ceil(heads / kvHeads / headsAtOnce);
  const tiles = Math.ceil(keys.shape[1] / 32), parts = Math.max(Math.min(32, tiles), Math.ceil(tiles / 2));
  return Math.max(1, Math.min(64, Math.ceil(512 / workgroups), parts));
}

/** Shape of `partial`, f32 scratch of attentionCached; undefined where it needs none. */
export function attentionCachedPartialShape(
  { q, keys }: { q: TensorLike; keys: TensorLike },
  options: { heads: number; kvHeads: number },
): number[] | undefined {
  const splits = splitsOf(q, keys, options), { heads } = options;
  return splits > 1 ? [q.shape[0], heads, splits, q.shape[1] / heads + 2] : undefined;
}

/**
 * New tokens against a cache: y [T, H*S] from q [T, H*S] and the rows spans[t][0] .. spans[t][1] - 1 of the cache, i32
 * [T, 2]. keys and values [slots, C, G*S] have one element type, their rows counted through all slots. Other rows are not
 * read.
 */
export function attentionCached<T extends TensorLike>(
  _target: KernelTarget,
  { q, keys, values, spans, y, partial }: { q: T; keys: T; values: T; spans: T; y: T; partial?: T },
  options: AttentionOptions,
): Dispatch<T>[] {
  const { heads, kvHeads, scale } = options, [count] = q.shape;
  const { size, group, SLICES, numbers } = headsOf(q, options), splits = splitsOf(q, keys, options);
  const part = (to: T): Dispatch<T> => ({
    kernel: "attention_cached",
    constants: { In: q.dtype, Cache: sameDtype(keys, values), Out: to.dtype, SLICES },
    tensors: [q, keys, values, spans, to],
    params: [...numbers, splits, { f32: scale }],
    grid: [kvHeads, count, splits * Math.ceil(group / headsAtOnce)],
  });
  if (splits === 1) return [part(y)];
  if (!partial) throw new Error("attention: a long cache needs `partial`");
  return [part(partial), {
    kernel: "attention_cached_combine",
    constants: { Out: y.dtype },
    tensors: [partial, y],
    params: [count * heads, size / 2, splits],
    grid: spread(count * heads),
  }];
}
