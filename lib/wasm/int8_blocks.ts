/**
 * f32 weights that came from Q8_0's blocks of 32, found out by their values: a quarter of the memory then holds the same
 * numbers. lib/model/source.ts gives such numbers rounded to f16, so that each is a multiple of its block's scale within
 * half a unit of f16's last place.
 */
import { f32ToF16, halfToFloat } from "../formats/float16.ts";

export const int8Block = 32;

export interface Int8Blocks {
  /** i8 [O, I]. */
  codes: Int8Array;
  /** f32 [O, I/32], all of them f16 numbers. */
  scales: Float32Array;
}

/** Half a unit of f16's last place, relative; and of its smallest number. */
const relative = 2 ** -11, absolute = 2 ** -25;

/**
 * data = codes * scales within f16's rounding, in blocks of 32 with the largest number at 127 or -127, as ggml's quantiser
 * makes them; undefined where one block is not like that.
 */
export function int8Blocks(data: Float32Array): Int8Blocks | undefined {
  const codes = new Int8Array(data.length), scales = new Float32Array(data.length / int8Block);
  const exact = new Float32Array(1), half = new Uint16Array(1);
  for (let block = 0; block < scales.length; block++) {
    const start = block * int8Block;
    let max = 0;
    for (let i = start; i < start + int8Block; i++) {
      const size = Math.abs(data[i]);
      if (size > max) max = size;
    }
    if (max === 0) continue;
    exact[0] = max / 127;
    f32ToF16(exact, half);
    const scale = [half[0], half[0] - 1, half[0] + 1].map((bits) => halfToFloat[bits]).find((scale) =>
      holds(scale, start)
    );
    if (scale === undefined) return undefined;
    scales[block] = scale;
  }
  return { codes, scales };

  /** Whether the block is multiples of a scale, which are then its codes. */
  function holds(scale: number, start: number): boolean {
    for (let i = start; i < start + int8Block; i++) {
      const code = Math.round(data[i] / scale);
      if (!(Math.abs(code) <= 127 && Math.abs(code * scale - data[i]) <= relative * Math.abs(data[i]) + absolute)) {
        return false;
      }
      codes[i] = code;
    }
    return true;
  }
}
