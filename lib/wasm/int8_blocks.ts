/**
 * f32 weights that came from 8-bit blocks, as Q8_0's, found out by their values: then a quarter of the memory holds the
 * same numbers.
 */

export const int8Block = 32;

export interface Int8Blocks {
  /** i8 [O, I]. */
  codes: Int8Array;
  /** f32 [O, I/32]. */
  scales: Float32Array;
}

/**
 * data = codes * scales, to the bit, by blocks of 32 with codes from -127 to 127; undefined where that cannot be. The
 * largest of a block is taken for 127 steps, and else for fewer (a block whose scale was rounded up, or that was cut
 * short, has no 127).
 */
export function int8Blocks(data: Float32Array): Int8Blocks | undefined {
  const codes = new Int8Array(data.length), scales = new Float32Array(data.length / int8Block);
  for (let block = 0; block < scales.length; block++) {
    const start = block * int8Block;
    let max = 0;
    for (let i = start; i < start + int8Block; i++) {
      const size = Math.abs(data[i]);
      if (size > max) max = size;
    }
    if (max === 0) continue;
    let most = 127;
    while (most > 0 && !holds(max / most, start)) most--;
    if (most === 0) return undefined;
    scales[block] = max / most;
  }
  return { codes, scales };

  /** Whether the block is whole multiples of a scale, which are then its codes. */
  function holds(exact: number, start: number): boolean {
    const scale = Math.fround(exact);
    for (let i = start; i < start + int8Block; i++) {
      const code = Math.round(data[i] / scale);
      if (Math.fround(code * scale) !== data[i]) return false;
      codes[i] = code;
    }
    return true;
  }
}
