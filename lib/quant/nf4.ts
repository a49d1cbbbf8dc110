/**
 * NF4 in blocks of 64, bit for bit as bitsandbytes 0.50 quantises and dequantises it.
 * Pure arrays: no tensors, no files. Double quantisation of the block maxima is double_quant.ts.
 *
 * Source: bitsandbytes functional.py get_4bit_type, backends/default/ops.py quantize_4bit; csrc/kernels.cu.
 */
import { UserError } from "../errors.ts";

export const nf4Block = 64;

/** Values of the 16 codes, exact in f32. */
// deno-fmt-ignore
export const nf4Codebook: Float32Array = new Float32Array([
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
  0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]);

export interface Nf4 {
  /** Codes, two to a byte, even index in the high nibble; ceil(count/2) bytes, padding nibble 0. */
  packed: Uint8Array<ArrayBuffer>;
  /** max|x| of each block of 64, f32, ceil(count/64). */
  absmax: Float32Array<ArrayBuffer>;
}

/**
 * The 15 thresholds lie more than 1/32 apart, so a cell of width 1/32 holds at most one: the code of y is the number of
 * thresholds below y's cell, plus one if y is above the cell's own. The cell index is monotonic in y, so this equals
 * the 15 comparisons `y > threshold` exactly, ties included (an exact tie takes the lower code).
 */
const cells = 32;
const cellBase = new Uint8Array(2 * cells + 1);
const cellThreshold = new Float64Array(2 * cells + 1).fill(Infinity);
for (let i = 0; i < 15; i++) {
  const threshold = Math.fround(Math.fround(nf4Codebook[i] + nf4Codebook[i + 1]) / 2);
  const cell = (threshold * cells + cells) | 0;
  cellThreshold[cell] = threshold;
  cellBase.fill(i + 1, cell + 1);
}

/**
 * x [N] row-major -> NF4. Each element is multiplied by the f32 reciprocal of its block's maximum; a block of zeros
 * gets code 7 (0) and maximum 0, as on bitsandbytes' portable backend.
 * UserError when x holds NaN or infinity, with the index of the first; `name` goes into the message.
 */
export function quantizeNf4(x: Float32Array, options: { name?: string } = {}): Nf4 {
  const count = x.length;
  const packed = new Uint8Array((count + 1) >> 1);
  const absmax = new Float32Array(Math.ceil(count / nf4Block));
  for (let block = 0, start = 0; start < count; block++, start += nf4Block) {
    const end = start + nf4Block < count ? start + nf4Block : count;
    let max = 0, sum = 0;
    for (let i = start; i < end; i++) {
      const a = Math.abs(x[i]);
      if (a > max) max = a;
      sum += a;
    }
    if (!(sum < Infinity)) throw notFinite(x, { start, name: options.name });
    absmax[block] = max;
    const inverse = Math.fround(1 / (max < smallestMax ? smallestMax : max));
    let i = start;
    for (; i + 1 < end; i += 2) {
      const a = Math.fround(x[i] * inverse), b = Math.fround(x[i + 1] * inverse);
      const ca = (a * cells + cells) | 0, cb = (b * cells + cells) | 0;
      const high = cellBase[ca] + (a > cellThreshold[ca] ? 1 : 0);
      const low = cellBase[cb] + (b > cellThreshold[cb] ? 1 : 0);
      packed[i >> 1] = (high << 4) | low;
    }
    if (i < end) {
      const a = Math.fround(x[i] * inverse), ca = (a * cells + cells) | 0;
      packed[i >> 1] = (cellBase[ca] + (a > cellThreshold[ca] ? 1 : 0)) << 4;
    }
  }
  return { packed, absmax };
}

/** bitsandbytes clamps the maximum from below before it takes the reciprocal. */
const smallestMax = Math.fround(1e-38);

function notFinite(x: Float32Array, where: { start: number; name?: string }): UserError {
  let index = where.start;
  while (Number.isFinite(x[index])) index++;
  return new UserError(
    `Cannot quantise ${where.name ? `tensor "${where.name}"` : "the weights"}: element ${index} is ${x[index]}`,
    { hint: "The model file is damaged or its training diverged: fetch it again or take another one." },
  );
}

/** Packed codes and block maxima -> f32 [count], value = code * absmax in f32. */
export function dequantizeNf4(
  packed: Uint8Array,
  absmax: Float32Array,
  count: number,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count);
  const values = new Float32Array(16);
  for (let block = 0, start = 0; start < count; block++, start += nf4Block) {
    const end = start + nf4Block < count ? start + nf4Block : count;
    const max = absmax[block];
    for (let code = 0; code < 16; code++) values[code] = nf4Codebook[code] * max;
    let i = start;
    for (; i + 1 < end; i += 2) {
      const byte = packed[i >> 1];
      out[i] = values[byte >> 4];
      out[i + 1] = values[byte & 15];
    }
    if (i < end) out[i] = values[packed[i >> 1] >> 4];
  }
  return out;
}
