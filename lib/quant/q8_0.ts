/**
 * Encoding to Q8_0, ggml's 8-bit blocks, with the rounding of llama.cpp's reference (ggml-quants.c
 * quantize_row_q8_0_ref). Decoding is decode.ts.
 */
import { toHalf } from "../formats/float16.ts";
import { infinityBits, notFinite } from "./finite.ts";

const block = 32, blockBytes = 34;
/** Added before truncation, by sign bit: looked up, since a branch on random signs costs more than the rest. */
const halves = new Float64Array([0.5, -0.5]);
const scratch = new Float32Array(1), scratchBits = new Uint32Array(scratch.buffer);

/**
 * x [N], N a multiple of 32 -> N/32 blocks of 34 bytes: d = max|x| / 127 as f16, then round(x * (1/d)) as signed bytes,
 * with 1/d taken of the f32 d, before it became f16. Halves round away from zero. A block of zeros has d = 0.
 * UserError when x holds NaN or infinity; `name` (of the tensor) goes into the message.
 */
export function encodeQ8_0(x: Float32Array, options: { name?: string } = {}): Uint8Array<ArrayBuffer> {
  if (x.length % block !== 0) throw new Error(`${x.length} elements are not whole blocks of ${block}`);
  const out = new Uint8Array(x.length / block * blockBytes);
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let start = 0, p = 0; start < x.length; start += block, p += blockBytes) {
    let max = 0;
    for (let i = start; i < start + block; i++) {
      const magnitude = bits[i] & 0x7fffffff;
      if (magnitude > max) max = magnitude;
    }
    if (max >= infinityBits) throw notFinite(x, { start, name: options.name });
    scratchBits[0] = max;
    const d = Math.fround(scratch[0] / 127), reciprocal = Math.fround(1 / d);
    const inverse = reciprocal < Infinity ? reciprocal : 0; // d is 0, or so small that its f16 is 0
    const half = toHalf(d);
    out[p] = half & 255;
    out[p + 1] = half >> 8;
    for (let i = 0; i < block; i++) {
      const scaled = Math.fround(x[start + i] * inverse);
      out[p + 2 + i] = (scaled + halves[bits[start + i] >>> 31]) | 0;
    }
  }
  return out;
}
