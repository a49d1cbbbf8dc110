/**
 * Encoding to ggml's blocks of 32 with 4 or 5 bits: Q4_0, Q5_0 and Q5_1, bit for bit what llama.cpp's reference gives
 * (ggml-quants.c quantize_row_q*_ref). Decoding, with the layout of the blocks, is decode.ts; Q8_0 is q8_0.ts.
 */
import { toHalf } from "../formats/float16.ts";
import { infinityBits, notFinite } from "./finite.ts";

const block = 32;

interface Options {
  /** Of the tensor, for messages. */
  name?: string;
}

/** x [N], N a multiple of 32 -> blocks of 18 bytes: codes 0 to 15 stand for d * (code - 8). UserError for NaN, infinity. */
export function encodeQ4_0(x: Float32Array, options: Options = {}): Uint8Array<ArrayBuffer> {
  return inBlocks(x, { ...options, bytes: 18 }, (codes, { out, p, start }) => {
    putHalf(out, p, symmetric(codes, { x, start, levels: 16 }));
    putNibbles(out, p + 2, codes);
  });
}

/** x [N] -> blocks of 22 bytes: codes 0 to 31 stand for d * (code - 16). */
export function encodeQ5_0(x: Float32Array, options: Options = {}): Uint8Array<ArrayBuffer> {
  return inBlocks(x, { ...options, bytes: 22 }, (codes, { out, p, start }) => {
    putHalf(out, p, symmetric(codes, { x, start, levels: 32 }));
    putFifths(out, p + 2, codes);
    putNibbles(out, p + 6, codes);
  });
}

/** x [N] -> blocks of 24 bytes: codes 0 to 31 stand for min + d * code. */
export function encodeQ5_1(x: Float32Array, options: Options = {}): Uint8Array<ArrayBuffer> {
  return inBlocks(x, { ...options, bytes: 24 }, (codes, { out, p, start }) => {
    let min = x[start], max = x[start];
    for (let i = start + 1; i < start + block; i++) {
      if (x[i] < min) min = x[i];
      if (x[i] > max) max = x[i];
    }
    const d = Math.fround(Math.fround(max - min) / 31), inverse = reciprocal(d);
    putHalf(out, p, d);
    putHalf(out, p + 2, min);
    for (let i = 0; i < block; i++) {
      codes[i] = Math.fround(Math.fround(Math.fround(x[start + i] - min) * inverse) + 0.5) | 0;
    }
    putFifths(out, p + 4, codes);
    putNibbles(out, p + 8, codes);
  });
}

/** The step with which the value of largest magnitude gets code 0, and everybody's codes. */
function symmetric(
  codes: Int32Array,
  { x, start, levels }: { x: Float32Array; start: number; levels: number },
): number {
  let magnitude = 0, largest = 0;
  for (let i = start; i < start + block; i++) {
    if (Math.abs(x[i]) > magnitude) {
      magnitude = Math.abs(x[i]);
      largest = x[i];
    }
  }
  const d = Math.fround(largest / (-levels / 2)), inverse = reciprocal(d), middle = levels / 2 + 0.5;
  for (let i = 0; i < block; i++) {
    codes[i] = Math.min(levels - 1, Math.fround(Math.fround(x[start + i] * inverse) + middle) | 0);
  }
  return d;
}

/** 1/d, or 0 where d is 0. Infinite for the smallest d, whose f16 is 0: every code is then 0, whatever its product. */
function reciprocal(d: number): number {
  return d === 0 ? 0 : Math.fround(1 / d);
}

/** Checks x and runs `encode` over its blocks, with room for the codes of one. */
function inBlocks(
  x: Float32Array,
  { bytes, name }: { bytes: number; name?: string },
  encode: (codes: Int32Array, place: { out: Uint8Array; p: number; start: number }) => void,
): Uint8Array<ArrayBuffer> {
  if (x.length % block !== 0) throw new Error(`${x.length} elements are not whole blocks of ${block}`);
  const out = new Uint8Array(x.length / block * bytes), codes = new Int32Array(block);
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let start = 0, p = 0; start < x.length; start += block, p += bytes) {
    for (let i = start; i < start + block; i++) {
      if ((bits[i] & infinityBits) === infinityBits) throw notFinite(x, { start, name });
    }
    encode(codes, { out, p, start });
  }
  return out;
}

function putHalf(out: Uint8Array, at: number, value: number): void {
  const half = toHalf(value);
  out[at] = half & 255;
  out[at + 1] = half >> 8;
}

/** Elements 0-15 in the low nibbles of 16 bytes, 16-31 in the high ones. */
function putNibbles(out: Uint8Array, at: number, codes: Int32Array): void {
  for (let j = 0; j < 16; j++) out[at + j] = (codes[j] & 15) | ((codes[j + 16] & 15) << 4);
}

/** Bit i of a u32 is the fifth bit of element i. */
function putFifths(out: Uint8Array, at: number, codes: Int32Array): void {
  let bits = 0;
  for (let i = 0; i < block; i++) bits |= ((codes[i] >> 4) & 1) << i;
  for (let byte = 0; byte < 4; byte++) out[at + byte] = bits >> (8 * byte);
}
