/**
 * Decoders of ggml's K-quants (super-blocks of 256 with quantised scales) and of IQ4, to the values llama.cpp gets.
 *
 * In all of them a scale of the super-block, f16 `d`, times a small integer scale gives the step of a group of 16 or 32
 * elements; where there is a second f16, `dmin`, it gives in the same way what is subtracted from the group.
 * Why doubles give llama.cpp's f32 values is said in decode.ts; it holds here since step and minimum have at most 18
 * significant bits and are multiples of 2^-24.
 * Layouts: ggml-common.h block structs; formulas: ggml-quants.c dequantize_row_*.
 */
import { halfToFloat } from "../formats/float16.ts";

const half = (bytes: Uint8Array, at: number) => halfToFloat[bytes[at] | (bytes[at + 1] << 8)];

/**
 * 16 bytes of scales (low nibble: step, high: minimum, one per 16 elements), 64 bytes of quants, d, dmin.
 * Byte l of 32 holds two bits each of elements l, 32+l, 64+l and 96+l of its half. value = d * scale * q - dmin * min.
 */
export function decodeQ2_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; p += 84) {
    const d = half(bytes, p + 80), dmin = half(bytes, p + 82);
    for (let group = 0; group < 16; group++, o += 16) {
      const scale = bytes[p + group], step = d * (scale & 15), min = dmin * (scale >> 4);
      const quants = p + 16 + 32 * (group >> 3) + 16 * (group & 1), shift = 2 * ((group >> 1) & 3);
      for (let l = 0; l < 16; l++) out[o + l] = step * ((bytes[quants + l] >> shift) & 3) - min;
    }
  }
}

/**
 * 32 bytes of third bits, 64 bytes of quants as in Q2_K, 12 bytes of 6-bit scales, d. Bit g of third-bit byte l belongs
 * to element 32g+l. Of the 16 scales 8 lie in low nibbles, 8 in high ones, and their upper two bits in the last 4 bytes.
 * value = d * (scale - 32) * (q - 4).
 */
export function decodeQ3_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; p += 110) {
    const d = half(bytes, p + 108);
    for (let group = 0; group < 16; group++, o += 16) {
      const low = bytes[p + 96 + (group & 7)] >> (4 * (group >> 3)) & 15;
      const high = bytes[p + 104 + (group & 3)] >> (2 * (group >> 2)) & 3;
      const step = d * ((low | (high << 4)) - 32);
      const quants = p + 32 + 32 * (group >> 3) + 16 * (group & 1), shift = 2 * ((group >> 1) & 3);
      const thirds = p + 16 * (group & 1), bit = group >> 1;
      for (let l = 0; l < 16; l++) {
        const third = (bytes[thirds + l] >> bit) & 1;
        out[o + l] = step * (((bytes[quants + l] >> shift) & 3 | (third << 2)) - 4);
      }
    }
  }
}

/** The 6-bit step of group 0 to 7 out of the 12 bytes at `scales` that Q4_K and Q5_K share; `minOf` its minimum. */
function stepOf(bytes: Uint8Array, scales: number, group: number): number {
  if (group < 4) return bytes[scales + group] & 63;
  return (bytes[scales + 4 + group] & 15) | ((bytes[scales + group - 4] >> 6) << 4);
}

function minOf(bytes: Uint8Array, scales: number, group: number): number {
  if (group < 4) return bytes[scales + 4 + group] & 63;
  return (bytes[scales + 4 + group] >> 4) | ((bytes[scales + group] >> 6) << 4);
}

/**
 * d, dmin, 12 bytes of scales (one per 32 elements), 128 bytes of quants: each 32 bytes hold 64 elements, the first 32
 * in the low nibbles. value = d * scale * q - dmin * min.
 */
export function decodeQ4_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; p += 144) {
    const d = half(bytes, p), dmin = half(bytes, p + 2);
    for (let pair = 0; pair < 4; pair++, o += 64) {
      const low = d * stepOf(bytes, p + 4, 2 * pair), lowMin = dmin * minOf(bytes, p + 4, 2 * pair);
      const high = d * stepOf(bytes, p + 4, 2 * pair + 1), highMin = dmin * minOf(bytes, p + 4, 2 * pair + 1);
      const quants = p + 16 + 32 * pair;
      for (let l = 0; l < 32; l++) {
        const q = bytes[quants + l];
        out[o + l] = low * (q & 15) - lowMin;
        out[o + 32 + l] = high * (q >> 4) - highMin;
      }
    }
  }
}

/** As Q4_K, with 32 bytes of fifth bits before the quants: bit g of byte l belongs to element 32g+l. */
export function decodeQ5_K(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; p += 176) {
    const d = half(bytes, p), dmin = half(bytes, p + 2);
    for (let pair = 0; pair < 4; pair++, o += 64) {
      const low = d * stepOf(bytes, p + 4, 2 * pair), lowMin = dmin * minOf(bytes, p + 4, 2 * pair);
      const high = d * stepOf(bytes, p + 4, 2 * pair + 1), highMin = dmin * minOf(bytes, p + 4, 2 * pair + 1);
      const quants = p + 48 + 32 * pair;
      for (let l = 0; l < 32; l++) {
        const q = bytes[quants + l], fifths = bytes[p + 16 + l] >> (2 * pair);
        out[o + l] = low * ((q & 15) | ((fifths & 1) << 4)) - lowMin;
        out[o + 32 + l] = high * ((q >> 4) | ((fifths & 2) << 3)) - highMin;
      }
    }
  }
}

/**
 * Block of 256: 128 bytes of low nibbles, 64 bytes of upper two bits, 16 signed scales (one per 16 elements), f16 d.
 * Each half of 128 elements takes 64 + 32 + 8 of these. value = d * scale * (q - 32).
 */
export function decodeQ6_K(bytes: Uint8Array, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let o = 0, p = 0; o < out.length; o += 256, p += 210) {
    const d = half(bytes, p + 208);
    for (let part = 0; part < 4; part++) {
      // 16 bytes of each kind give 16 elements of four groups, 32 apart.
      const low = p + 64 * (part >> 1) + 16 * (part & 1), high = p + 128 + 16 * part;
      const scale = p + 192 + 8 * (part >> 1) + (part & 1), to = o + 128 * (part >> 1) + 16 * (part & 1);
      const step0 = d * signed[scale], step1 = d * signed[scale + 2];
      const step2 = d * signed[scale + 4], step3 = d * signed[scale + 6];
      for (let l = 0; l < 16; l++) {
        const h = bytes[high + l], a = bytes[low + l], b = bytes[low + 32 + l];
        out[to + l] = step0 * (((a & 15) | ((h & 3) << 4)) - 32);
        out[to + 32 + l] = step1 * (((b & 15) | ((h & 12) << 2)) - 32);
        out[to + 64 + l] = step2 * (((a >> 4) | (h & 48)) - 32);
        out[to + 96 + l] = step3 * (((b >> 4) | ((h & 192) >> 2)) - 32);
      }
    }
  }
}

/** f32 d, 256 signed bytes, 16 sums of theirs that only products use. value = d * q, rounded once. */
export function decodeQ8_K(bytes: Uint8Array, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let o = 0, p = 0; o < out.length; o += 256, p += 292) {
    const d = view.getFloat32(p, true);
    for (let l = 0; l < 256; l++) out[o + l] = d * signed[p + 4 + l];
  }
}

/** What the 16 codes of IQ4 stand for (ggml-common.h kvalues_iq4nl). */
const iq4Values = new Float64Array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]);

/** Block of 32: f16 d, 16 bytes of codes; low nibbles are elements 0-15, high 16-31. value = d * values[code]. */
export function decodeIQ4_NL(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; o += 32, p += 18) decodeCodes(bytes, p + 2, { out, o, step: half(bytes, p) });
}

/**
 * d, u16 of upper two bits and 4 bytes of low nibbles of the scales (one per 32 elements), 128 bytes of codes.
 * value = d * (scale - 32) * values[code].
 */
export function decodeIQ4_XS(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; p += 136) {
    const d = half(bytes, p), highs = bytes[p + 2] | (bytes[p + 3] << 8);
    for (let group = 0; group < 8; group++, o += 32) {
      const low = (bytes[p + 4 + (group >> 1)] >> (4 * (group & 1))) & 15, high = (highs >> (2 * group)) & 3;
      decodeCodes(bytes, p + 8 + 16 * group, { out, o, step: d * ((low | (high << 4)) - 32) });
    }
  }
}

function decodeCodes(
  bytes: Uint8Array,
  codes: number,
  { out, o, step }: { out: Float32Array; o: number; step: number },
): void {
  for (let l = 0; l < 16; l++) {
    const code = bytes[codes + l];
    out[o + l] = step * iq4Values[code & 15];
    out[o + 16 + l] = step * iq4Values[code >> 4];
  }
}
