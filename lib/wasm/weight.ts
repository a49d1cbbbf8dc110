/**
 * Frozen weights as the WASM kernels take them: integers by blocks, which meet activations rounded to integers by blocks
 * of 64 (quantize.wat), all products of a block summed exactly in i32.
 *
 * Why no sum is lost: a lane of i32 takes 16 products of a block of 64. With NF4's values times `nf4Factor`, at most 9612,
 * and activations of at most `mostActivation`, 13963, that is 16 * 9612 * 13963 = 2147397696 < 2^31. In 8-bit blocks of
 * 32 it takes 8 products of at most 128 * 13963.
 *
 * How exact it is: a weight is off by 1.3e-5 of its block's largest in the mean square and 3.8e-5 at most, an activation
 * by 3.6e-5 of its block's at most, both below the rounding of f16, 2^-11 of each value, for all values but the smallest.
 */
import { recoverAbsmax } from "../quant/double_quant.ts";
import { halfToF32 } from "../quant/half.ts";
import { dequantizeNf4, nf4Block, nf4Codebook } from "../quant/nf4.ts";
import type { WeightData } from "../ops.ts";
import { type Int8Blocks, int8Blocks } from "./int8_blocks.ts";

/**
 * Of all factors F with activations of 2^31 / 16 / F the one for which both roundings together are least (found by trying
 * those up to 32767).
 */
export const nf4Factor = 9612;
export const mostActivation = Math.floor((2 ** 31 - 1) / 16 / nf4Factor);

/** The 16 values as bytes, low halves, then high ones, then a nibble's mask, and where the kernels read them. */
export const nf4TablesAt = 192;
export function nf4Tables(): Uint8Array {
  const tables = new Uint8Array(48).fill(15);
  nf4Codebook.forEach((value, code) => {
    const integer = Math.round(value * nf4Factor);
    tables[code] = integer & 255;
    tables[16 + code] = integer >> 8 & 255;
  });
  return tables;
}

export type WasmWeight =
  | { kind: "nf4"; codes: Uint8Array; scales: Float32Array }
  | { kind: "q8" } & Int8Blocks
  | { kind: "f32"; data: Float32Array };

/** Rows of whole blocks, four of them at least: what the kernels for integers can do. */
const fitsBlocks = ([O, I]: readonly number[]) => O >= 4 && I % nf4Block === 0;

/** The form that a weight's product takes; f32 where it has no other. */
export function wasmWeight(weight: WeightData): WasmWeight {
  const fits = fitsBlocks(weight.shape);
  if (weight.kind !== "nf4") {
    const data = weight.kind === "f32" ? weight.data : halfToF32(weight);
    const blocks = fits ? int8Blocks(data) : undefined;
    return blocks ? { kind: "q8", ...byFours(blocks, weight.shape) } : { kind: "f32", data };
  }
  if (!fits) return { kind: "f32", data: writtenOut(weight) };
  const scales = maxima(weight).map((max) => max / nf4Factor);
  return { kind: "nf4", ...byFours({ codes: interleaved(weight.packed), scales }, weight.shape) };
}

/**
 * Codes [O, blocks, 32] and scales [O, blocks] as [fours, blocks, 4, 32] and [fours, blocks, 4], the last four ending with
 * the last output: how the kernels meet them (products.ts).
 */
function byFours<T extends Uint8Array | Int8Array>(
  { codes, scales }: { codes: T; scales: Float32Array },
  [O]: readonly number[],
): { codes: T; scales: Float32Array } {
  const blocks = scales.length / O, fours = Math.ceil(O / 4), count = 4 * fours * blocks;
  const placed = new (codes.constructor as new (length: number) => T)(32 * count), factors = new Float32Array(count);
  for (let four = 0, to = 0; four < fours; four++) {
    const first = Math.min(4 * four, O - 4);
    for (let block = 0; block < blocks; block++) {
      for (let o = first; o < first + 4; o++, to++) {
        const from = o * blocks + block;
        factors[to] = scales[from];
        placed.set(codes.subarray(32 * from, 32 * (from + 1)), 32 * to);
      }
    }
  }
  return { codes: placed, scales: factors };
}

type Nf4Weight = Extract<WeightData, { kind: "nf4" }>;

const maxima = ({ absmax }: Nf4Weight) => absmax instanceof Float32Array ? absmax : recoverAbsmax(absmax);

/** The weight in f32, [O, I]. */
function writtenOut(weight: Nf4Weight): Float32Array {
  const { packed, shape: [O, I] } = weight;
  return dequantizeNf4(packed, maxima(weight), O * I);
}

/** The same with the values that the kernels take: f32 products then differ from theirs by rounding alone. */
export function writtenAsIntegers(weight: Nf4Weight): Float32Array {
  const { packed } = weight, scales = maxima(weight).map((max) => max / nf4Factor);
  const integers = nf4Codebook.map((value) => Math.round(value * nf4Factor));
  const out = new Float32Array(2 * packed.length);
  for (let i = 0; i < packed.length; i++) {
    const scale = scales[i >> 5];
    out[2 * i] = integers[packed[i] >> 4] * scale;
    out[2 * i + 1] = integers[packed[i] & 15] * scale;
  }
  return out;
}

/**
 * Codes as the kernels read them: of 32 numbers the first 16 in the low nibbles of 16 bytes, the others in the high ones.
 * Packed, the even ones are in the high nibbles.
 */
function interleaved(packed: Uint8Array): Uint8Array {
  const codes = new Uint8Array(packed.length);
  for (let start = 0; start < packed.length; start += 16) {
    for (let i = 0; i < 8; i++) {
      const low = packed[start + i], high = packed[start + 8 + i];
      codes[start + 2 * i] = low >> 4 | high & 0xf0;
      codes[start + 2 * i + 1] = low & 15 | (high & 15) << 4;
    }
  }
  return codes;
}
