/** Kernel call of the rotary embedding. */
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
