/**
 * NF4 in blocks of 64, bit for bit as bitsandbytes 0.50 quantises and dequantises it.
 * Pure arrays: no tensors, no files. Double quantisation of the block maxima is double_quant.ts.
 *
 * Source: bitsandbytes functional.py get_4bit_type, backends/default/ops.py quantize_4bit; csrc/kernels.cu.
 */
import { infinityBits, notFinite } from "./finite.ts";

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
 * y in [-1, 1] -> code, by the cell of width 1/2048 that y falls into. The cell index is monotonic in y and no cell
 * holds two of the 15 thresholds, so this equals the 15 comparisons `y > threshold` exactly: a cell without threshold
 * has one code; the 15 others store 16 + the lower code and take one comparison, a tie giving the lower code.
 */
const cells = 2048;
const cellCode = new Uint8Array(2 * cells + 1);
const cellThreshold = new Float64Array(2 * cells + 1);
for (let code = 0; code < 15; code++) {
  const threshold = Math.fround(Math.fround(nf4Codebook[code] + nf4Codebook[code + 1]) / 2);
  const cell = (threshold * cells + cells) | 0;
  cellThreshold[cell] = threshold;
  cellCode[cell] = 16 + code;
  cellCode.fill(code + 1, cell + 1);
}

/** bitsandbytes clamps the maximum from below before it takes the reciprocal. */
const smallestMax = Math.fround(1e-38);

/**
 * x [N] row-major -> NF4. Each element is multiplied by the f32 reciprocal of its block's maximum; a block of zeros
 * gets code 7 (0) and maximum 0, as on bitsandbytes' portable backend.
 * UserError when x holds NaN or infinity, with the index of the first; `name` (of the tensor) goes into the message.
 */
export function quantizeNf4(x: Float32Array, options: { name?: string } = {}): Nf4 {
  const count = x.length;
  const packed = new Uint8Array((count + 1) >> 1);
  const absmax = new Float32Array(Math.ceil(count / nf4Block));
  const bits = new Uint32Array(x.buffer, x.byteOffset, count);
  const maxBits = new Uint32Array(absmax.buffer);
  for (let block = 0, start = 0; start < count; block++, start += nf4Block) {
    const end = start + nf4Block < count ? start + nf4Block : count;
    let max = 0;
    for (let i = start; i < end; i++) {
      const magnitude = bits[i] & 0x7fffffff;
      if (magnitude > max) max = magnitude;
    }
    if (max >= infinityBits) throw notFinite(x, { start, name: options.name });
    maxBits[block] = max;
    const inverse = Math.fround(1 / Math.max(absmax[block], smallestMax));
    for (let i = start; i < end; i += 2) {
      const a = Math.fround(x[i] * inverse), b = i + 1 < end ? Math.fround(x[i + 1] * inverse) : -1;
      const cellA = (a * cells + cells) | 0, cellB = (b * cells + cells) | 0;
      let high = cellCode[cellA], low = cellCode[cellB];
      if (high > 15) high = (high & 15) + (a > cellThreshold[cellA] ? 1 : 0);
      if (low > 15) low = (low & 15) + (b > cellThreshold[cellB] ? 1 : 0);
      packed[i >> 1] = (high << 4) | low;
    }
  }
  return { packed, absmax };
}

/** Packed codes and block maxima -> f32 [count], value = code * absmax in f32. */
export function dequantizeNf4(
  packed: Uint8Array,
  absmax: Float32Array,
  count: number,
): Float32Array<ArrayBuffer> {
  return dequantize4Bit(packed, absmax, { count, codebook: nf4Codebook, block: nf4Block });
}

/**
 * The same for any 16 values and any even length of a block. `round` may round the values that the codes of a block
 * stand for, in place: 16 numbers a block instead of every element.
 */
export function dequantize4Bit(
  packed: Uint8Array,
  absmax: Float32Array,
  { count, codebook, block, round }: {
    count: number;
    codebook: Float32Array;
    block: number;
    round?: (values: Float32Array) => void;
  },
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count);
  const values = new Float32Array(16);
  for (let b = 0, start = 0; start < count; b++, start += block) {
    const end = start + block < count ? start + block : count;
    const max = absmax[b];
    for (let code = 0; code < 16; code++) values[code] = codebook[code] * max;
    round?.(values);
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
