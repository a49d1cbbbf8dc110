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
    tensors: [x, cos, sin, y],
    params: [count, heads, half / size, { f32: inverse ? -1 : 1 }],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, cos, sin, y), flop: 3 * elements(x.shape) },
  };
}
