/**
 * Frozen weights in 8 bits for answering on the CPU: blocks of 64 along the inputs, value = (code - 128) * scale, as ONNX
 * Runtime's MatMulNBits takes them. It rounds the other operand to 8 bits too, block by block, and adds in integers: a
 * token costs a quarter of the memory traffic of f32, and a row's result does not depend on the rows beside it.
 */
import { nf4Codebook } from "../quant/nf4.ts";

export const int8Block = 64;

export interface Int8Weight {
  /** [O, I/64, 64] */
  codes: Uint8Array<ArrayBuffer>;
  /** [O * I/64] */
  scales: Float32Array<ArrayBuffer>;
}

/** Whether blocks end where rows do. */
export function fitsInt8([, inputs]: readonly number[]): boolean {
  return inputs % int8Block === 0;
}

/** Of all factors up to 127 the one whose multiples of NF4's values lie closest to whole numbers, 0.17 % off (rms) of the largest. */
const nf4Factor = 112.03;
const nf4Code = Uint8Array.from(nf4Codebook, (value) => 128 + Math.round(value * nf4Factor));
/** The same for the two codes of a byte. */
const nf4Pairs = Uint16Array.from({ length: 256 }, (_, byte) => nf4Code[byte >> 4] | nf4Code[byte & 15] << 8);

/** NF4's own blocks, a code for a code. */
export function int8FromNf4(packed: Uint8Array, absmax: Float32Array): Int8Weight {
  const pairs = new Uint16Array(packed.length);
  for (let i = 0; i < packed.length; i++) pairs[i] = nf4Pairs[packed[i]];
  return {
    codes: new Uint8Array(pairs.buffer),
    scales: absmax.map((max) => max / nf4Factor) as Float32Array<ArrayBuffer>,
  };
}

/** The largest value of a block becomes 127 or -127. */
export function int8FromFloats(data: Float32Array): Int8Weight {
  const codes = new Uint8Array(data.length), scales = new Float32Array(data.length / int8Block);
  for (let block = 0; block < scales.length; block++) {
    const start = block * int8Block, end = start + int8Block;
    let max = 0;
    for (let i = start; i < end; i++) {
      const size = Math.abs(data[i]);
      if (size > max) max = size;
    }
    scales[block] = max / 127;
    const factor = max > 0 ? 127 / max : 0;
    for (let i = start; i < end; i++) codes[i] = 128 + Math.round(data[i] * factor);
  }
  return { codes, scales };
}
