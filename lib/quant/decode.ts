/**
 * Stored numbers -> f32: plain floats and ggml's quantised blocks, with the values llama.cpp gets.
 *
 * Why double arithmetic gives llama.cpp's f32 values exactly: a scale has 11 significant bits and a quant at most 8, so
 * every product below is exact in double, and so is a product plus an f16 minimum (both are multiples of 2^-24 under
 * 2^21). The store into the Float32Array rounds once, where the C code rounds once.
 * Layouts: ggml-common.h block structs; formulas: ggml-quants.c dequantize_row_*.
 */
import { UserError } from "../errors.ts";
import { bf16ToF32, f16ToF32, halfToFloat } from "../formats/float16.ts";
import { ggmlTypes } from "../formats/ggml_types.ts";
import {
  decodeIQ4_NL,
  decodeIQ4_XS,
  decodeQ2_K,
  decodeQ3_K,
  decodeQ4_K,
  decodeQ5_K,
  decodeQ6_K,
  decodeQ8_K,
} from "./decode_k.ts";

/** Elements and bytes of a block, and ggml's id, by type name. */
export const blockTypes: Record<string, { block: number; bytes: number; id: number }> = ggmlTypes;

type Decoder = (bytes: Uint8Array, out: Float32Array) => void;

const decoders: Record<string, Decoder> = {
  F32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  F16: (bytes, out) => f16ToF32(asU16(bytes), out),
  BF16: (bytes, out) => bf16ToF32(asU16(bytes), out),
  F64: decodeF64,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q5_0: decodeQ5_0,
  Q5_1: decodeQ5_1,
  Q8_0: decodeQ8_0,
  Q2_K: decodeQ2_K,
  Q3_K: decodeQ3_K,
  Q4_K: decodeQ4_K,
  Q5_K: decodeQ5_K,
  Q6_K: decodeQ6_K,
  Q8_K: decodeQ8_K,
  IQ4_NL: decodeIQ4_NL,
  IQ4_XS: decodeIQ4_XS,
};

/** Names of the formats that toFloat32 reads. */
export const decodableTypes: readonly string[] = Object.keys(decoders);

/**
 * `count` elements of `dtype` as a fresh f32 array. `bytes` must be exactly their storage; any alignment will do.
 * UserError for a dtype without decoder, a count that is not whole blocks, or a wrong number of bytes; `name` (of the
 * tensor) goes into its message.
 */
export function toFloat32(
  bytes: Uint8Array,
  options: { dtype: string; count: number; name?: string },
): Float32Array<ArrayBuffer> {
  const { dtype, count } = options;
  const what = options.name ? `tensor "${options.name}"` : "tensor";
  const decoder = Object.hasOwn(decoders, dtype) ? decoders[dtype] : undefined;
  if (!decoder) {
    throw new UserError(`Cannot decode ${what}: its type is ${dtype}`, {
      hint: `Supported are ${decodableTypes.join(", ")}: take another quantisation of this model.`,
    });
  }
  const { block, bytes: blockBytes } = blockTypes[dtype];
  if (count % block !== 0) {
    throw new UserError(`Cannot decode ${what}: ${count} elements are not whole ${dtype} blocks of ${block}`, {
      hint: "The file is damaged: fetch or copy it again.",
    });
  }
  const expected = count / block * blockBytes;
  if (bytes.length !== expected) {
    throw new UserError(
      `Cannot decode ${what}: ${count} elements of ${dtype} take ${expected} bytes, found ${bytes.length}`,
      { hint: "The file is damaged: fetch or copy it again." },
    );
  }
  const out = new Float32Array(count);
  decoder(bytes, out);
  return out;
}

/** Bytes as 16-bit units, copied only when they are not aligned. */
export function asU16(bytes: Uint8Array): Uint16Array {
  if (bytes.byteOffset % 2 === 0) return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  return new Uint16Array(bytes.slice().buffer);
}

function decodeF64(bytes: Uint8Array, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < out.length; i++) out[i] = view.getFloat64(8 * i, true);
}

/** Block of 32: f16 d, 16 bytes of quants; low nibbles are elements 0-15, high 16-31. value = d * (q - 8). */
function decodeQ4_0(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; o += 32, p += 18) {
    const d = halfToFloat[bytes[p] | (bytes[p + 1] << 8)];
    for (let j = 0; j < 16; j++) {
      const q = bytes[p + 2 + j];
      out[o + j] = d * ((q & 15) - 8);
      out[o + 16 + j] = d * ((q >> 4) - 8);
    }
  }
}

/** Block of 32: f16 d, f16 m, 16 bytes of quants as in Q4_0. value = d * q + m. */
function decodeQ4_1(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; o += 32, p += 20) {
    const d = halfToFloat[bytes[p] | (bytes[p + 1] << 8)];
    const m = halfToFloat[bytes[p + 2] | (bytes[p + 3] << 8)];
    for (let j = 0; j < 16; j++) {
      const q = bytes[p + 4 + j];
      out[o + j] = d * (q & 15) + m;
      out[o + 16 + j] = d * (q >> 4) + m;
    }
  }
}

/** Block of 32: f16 d, u32 fifth bits (bit i of element i), 16 bytes of nibbles. value = d * (q - 16). */
function decodeQ5_0(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; o += 32, p += 22) {
    const d = halfToFloat[bytes[p] | (bytes[p + 1] << 8)];
    const high = bytes[p + 2] | (bytes[p + 3] << 8) | (bytes[p + 4] << 16) | (bytes[p + 5] << 24);
    for (let j = 0; j < 16; j++) {
      const q = bytes[p + 6 + j];
      out[o + j] = d * (((q & 15) | (((high >>> j) & 1) << 4)) - 16);
      out[o + 16 + j] = d * (((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
    }
  }
}

/** Block of 32: f16 d, f16 m, u32 fifth bits, 16 bytes of nibbles. value = d * q + m. */
function decodeQ5_1(bytes: Uint8Array, out: Float32Array): void {
  for (let o = 0, p = 0; o < out.length; o += 32, p += 24) {
    const d = halfToFloat[bytes[p] | (bytes[p + 1] << 8)];
    const m = halfToFloat[bytes[p + 2] | (bytes[p + 3] << 8)];
    const high = bytes[p + 4] | (bytes[p + 5] << 8) | (bytes[p + 6] << 16) | (bytes[p + 7] << 24);
    for (let j = 0; j < 16; j++) {
      const q = bytes[p + 8 + j];
      out[o + j] = d * ((q & 15) | (((high >>> j) & 1) << 4)) + m;
      out[o + 16 + j] = d * ((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) + m;
    }
  }
}

/** Block of 32: f16 d, 32 signed bytes. value = d * q. */
function decodeQ8_0(bytes: Uint8Array, out: Float32Array): void {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let o = 0, p = 0; o < out.length; o += 32, p += 34) {
    const d = halfToFloat[bytes[p] | (bytes[p + 1] << 8)];
    for (let j = 0; j < 32; j++) out[o + j] = d * signed[p + 2 + j];
  }
}
