/**
 * Double quantisation: the f32 block maxima of NF4 as 8-bit codes in blocks of 256, bit for bit as bitsandbytes 0.50
 * does it on a CPU (its GPU kernels search the nearest code exactly, see dynamic_map.ts).
 *
 * Source: bitsandbytes functional.py quantize_4bit; csrc/cpu_ops.cpp quantize_cpu; torch's SumKernel.cpp for the mean.
 */
import { codeTable, dynamicMap, tableIndex } from "./dynamic_map.ts";

export { dynamicMap } from "./dynamic_map.ts";

export const nestedBlock = 256;

export interface DoubleQuant {
  /** One per block maximum. */
  codes: Uint8Array<ArrayBuffer>;
  /** max|absmax - offset| of each 256, f32. */
  nestedAbsmax: Float32Array<ArrayBuffer>;
  /** Mean of the maxima, f32. */
  offset: number;
}

/** An NF4 weight: codes, and the block maxima as f32 or double-quantised. */
export interface QuantizedWeight {
  packed: Uint8Array<ArrayBuffer>;
  absmax: Float32Array<ArrayBuffer> | DoubleQuant;
}

/** Values of the codes. */
export const signedMap: Float32Array = dynamicMap(true);
let signedTable: Uint8Array | undefined;

/** absmax [N] f32 -> codes [N], nestedAbsmax [ceil(N/256)], offset. */
export function quantizeAbsmax(absmax: Float32Array): DoubleQuant {
  const table = signedTable ??= codeTable(signedMap);
  const count = absmax.length;
  const offset = meanF32(absmax);
  const codes = new Uint8Array(count);
  const nestedAbsmax = new Float32Array(Math.ceil(count / nestedBlock));
  for (let block = 0, start = 0; start < count; block++, start += nestedBlock) {
    const end = Math.min(start + nestedBlock, count);
    let max = 0;
    for (let i = start; i < end; i++) max = Math.max(max, Math.abs(Math.fround(absmax[i] - offset)));
    nestedAbsmax[block] = max;
    if (max === 0) continue; // code 0 is what the library leaves; times 0 it still recovers 0
    const inverse = Math.fround(1 / max);
    for (let i = start; i < end; i++) {
      codes[i] = table[tableIndex(Math.fround(Math.fround(absmax[i] - offset) * inverse))];
    }
  }
  return { codes, nestedAbsmax, offset };
}

/**
 * absmax[i] = map[codes[i]] * nestedAbsmax[i / block] + offset, each operation in f32, of the maxima start..end (all).
 * `map` and `block` default to what quantizeAbsmax uses; a checkpoint brings its own.
 */
export function recoverAbsmax(
  quantised: { codes: Uint8Array; nestedAbsmax: Float32Array; offset: number },
  options: { map?: Float32Array; block?: number; start?: number; end?: number; out?: Float32Array<ArrayBuffer> } = {},
): Float32Array<ArrayBuffer> {
  const { codes, nestedAbsmax, offset } = quantised;
  const { map = signedMap, block = nestedBlock, start = 0, end = codes.length } = options;
  const absmax = options.out ?? new Float32Array(end - start);
  for (let i = start; i < end; i++) {
    absmax[i - start] = Math.fround(map[codes[i]] * nestedAbsmax[Math.floor(i / block)]) + offset;
  }
  return absmax;
}

/** Lanes of an AVX2 register, and registers summed side by side by torch. */
const lanes = 8, registers = 4;

/**
 * torch.mean of f32 on an AVX2 machine, in its order of summation: 32 running sums, folded upwards in levels, the four
 * registers added up, then the ragged end, then the eight lanes. (torch splits more than 32,768 values over threads;
 * this does not.)
 */
function meanF32(x: Float32Array): number {
  const width = lanes * registers;
  const vectors = Math.floor(x.length / lanes), rows = Math.floor(vectors / registers);
  const power = Math.max(4, Math.floor(Math.ceil(Math.log2(Math.max(1, rows))) / 4));
  const step = 2 ** power;
  const level = Array.from({ length: 4 }, () => new Float32Array(width));
  let row = 0;
  while (row + step <= rows) {
    for (const end = row + step; row < end; row++) {
      for (let k = 0; k < width; k++) level[0][k] += x[row * width + k];
    }
    for (let j = 1; j < 4; j++) {
      for (let k = 0; k < width; k++) level[j][k] += level[j - 1][k];
      level[j - 1].fill(0);
      if ((row & ((step - 1) * 2 ** (j * power))) !== 0) break;
    }
  }
  for (; row < rows; row++) for (let k = 0; k < width; k++) level[0][k] += x[row * width + k];
  const sums = level[0];
  for (let j = 1; j < 4; j++) for (let k = 0; k < width; k++) sums[k] += level[j][k];
  for (let v = rows * registers; v < vectors; v++) for (let k = 0; k < lanes; k++) sums[k] += x[v * lanes + k];
  for (let r = 1; r < registers; r++) for (let k = 0; k < lanes; k++) sums[k] += sums[r * lanes + k];
  let total = 0;
  for (let i = vectors * lanes; i < x.length; i++) total = Math.fround(total + x[i]);
  for (let k = 0; k < lanes; k++) total = Math.fround(total + sums[k]);
  return Math.fround(total / x.length);
}
