/** Kernel calls of the rotary embedding. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, vectorsOf, widthOf } from "./vectors.ts";

/**
 * Rotary embedding in the half-split form: for each head (x1, x2) -> (x1*cos - x2*sin, x2*cos + x1*sin).
 * x and y [T, heads*S], cos and sin [T, S/2]. `inverse` rotates back, which is the gradient.
 */
export function rope<T extends TensorLike>(
  x: T,
  cos: T,
  sin: T,
  y: T,
  { heads, inverse = false }: { heads: number; inverse?: boolean },
): Dispatch<T> {
  const half = widthOf(cos), { size, of, Float } = vectorsOf(half);
  const count = elements(x.shape) / 2 / size;
  return {
    kernel: "rope",
    constants: { X: of(x), Cos: of(cos), Sin: of(sin), Y: of(y), Float },
    tensors: [x, cos, sin, y, null, null],
    params: [count, heads, half / size, { f32: inverse ? -1 : 1 }, count, 0],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, cos, sin, y), flop: 3 * elements(x.shape) },
  };
}

/**
 * What attention against a cache begins with: q [T, H*S] is turned in place; k, turned, and v [T, G*S] are stored in rows
 * `index`, i32 [T], of keys and values [..., G*S], which have one element type.
 */
export function ropeStore<T extends TensorLike>(
  { q, k, v, cos, sin, index, keys, values }: Record<"q" | "k" | "v" | "cos" | "sin" | "index" | "keys" | "values", T>,
  { heads, kvHeads }: { heads: number; kvHeads: number },
): Dispatch<T> {
  const { size, of, Float } = vectorsOf(widthOf(cos)), width = widthOf(cos) / size;
  if (keys.dtype !== values.dtype) throw new Error("ropeStore: element types differ");
  const [T] = q.shape, queries = T * heads * width, stored = T * kvHeads * width;
  return {
    kernel: "rope_store_in_place",
    constants: { Q: of(q), K: of(k), V: of(v), Cos: of(cos), Sin: of(sin), Cache: of(keys), Float },
    tensors: [q, k, v, cos, sin, index, keys, values],
    params: [queries, stored, heads, kvHeads, width, elements(keys.shape) / widthOf(k)],
    grid: spread(Math.ceil((queries + 2 * stored) / 256)),
    work: { bytes: bytesMoved(q, q, k, k, v, v, cos, sin), flop: 3 * (elements(q.shape) + elements(k.shape)) },
  };
}

/** Two of them as one dispatch, or undefined where they differ in more than heads or one needs the other. */
export function ropePair<T extends TensorLike>(
  first: Dispatch<T>,
  second: Dispatch<T>,
  same: (a: T, b: T) => boolean,
): Dispatch<T> | undefined {
  const [x, cos, sin, y] = first.tensors as T[], [otherX, otherCos, otherSin, otherY] = second.tensors as T[];
  const kind = ({ kernel, constants, params }: Dispatch<T>) => JSON.stringify([kernel, constants, params.slice(2, 4)]);
  if (first.kernel !== "rope" || kind(first) !== kind(second)) return undefined;
  if (!same(cos, otherCos) || !same(sin, otherSin) || same(x, otherX) || same(y, otherX)) return undefined;
  const [count, heads, width, turn] = first.params, [otherCount, otherHeads] = second.params;
  const all = Number(count) + Number(otherCount);
  return {
    kernel: "rope",
    constants: { ...first.constants, pair: "true" },
    tensors: [x, cos, sin, y, otherX, otherY],
    params: [count, heads, width, turn, all, otherHeads],
    grid: spread(Math.ceil(all / 256)),
    work: {
      bytes: (first.work?.bytes ?? 0) + (second.work?.bytes ?? 0),
      flop: (first.work?.flop ?? 0) + (second.work?.flop ?? 0),
    },
  };
}
