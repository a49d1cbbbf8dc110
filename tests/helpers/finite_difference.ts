/** Gradients by central differences, to check backward operations against their forward ones. */
import { assertClose } from "./close.ts";

/** Seeded numbers of about unit size, uneven and without a pattern in them (mulberry32, sum of three). */
export function randomNumbers(count: number, seed: number): Float64Array {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ state >>> 15, 1 | state);
    x = (x + Math.imul(x ^ x >>> 7, 61 | x)) ^ x;
    return ((x ^ x >>> 14) >>> 0) / 2 ** 32;
  };
  return Float64Array.from({ length: count }, () => 2 * (next() + next() + next()) - 3);
}

/**
 * Checks `gradient` = d f / d x by moving each element of x by a small step and back. f is any scalar function of x's
 * present content. Step 1e-5 in float64: error about step^2 plus rounding of f at 1e-16/step, both under 1e-8 of f.
 */
export function assertGradient(
  f: () => number,
  options: { x: Float64Array; gradient: ArrayLike<number>; what: string; rtol?: number },
): void {
  const { x, gradient, what, rtol = 1e-7 } = options;
  const step = 1e-5;
  const expected = Array.from(x, (kept, i) => {
    x[i] = kept + step;
    const above = f();
    x[i] = kept - step;
    const below = f();
    x[i] = kept;
    return (above - below) / (2 * step);
  });
  assertClose(gradient, expected, { rtol, what });
}
