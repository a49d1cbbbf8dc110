/**
 * One hash for everything in the model that must be random and yet the same on every machine: LoRA's first values,
 * dropout masks, sampling. A number is a hash of what it is for, so there is no state to save.
 */

/** A bijection of 32-bit numbers: "lowbias32" of https://nullprogram.com/blog/2018/07/31/. Takes x modulo 2^32. */
export function lowbias32(x: number): number {
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  x ^= x >>> 16;
  return x >>> 0;
}
