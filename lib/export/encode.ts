/** f32 values as the bytes of a stored type, and what such a tensor will take; shared by every file that is written. */
import { UserError } from "../errors.ts";
import { f32ToBf16, f32ToF16 } from "../formats/float16.ts";
import { ggmlTypes } from "../formats/ggml_types.ts";
import { elementCount, type LazyTensor } from "../formats/tensor_file.ts";
import { encodeQ4_K, encodeQ5_K, encodeQ6_K } from "../quant/encode_k.ts";
import { encodeQ4_0, encodeQ5_0, encodeQ5_1 } from "../quant/encode_q4_q5.ts";
import { encodeQ8_0 } from "../quant/q8_0.ts";

export type FloatType = "F32" | "F16" | "BF16";

const blockEncoders = {
  Q4_0: encodeQ4_0,
  Q5_0: encodeQ5_0,
  Q5_1: encodeQ5_1,
  Q8_0: encodeQ8_0,
  Q4_K: encodeQ4_K,
  Q5_K: encodeQ5_K,
  Q6_K: encodeQ6_K,
};

export type StoredType = FloatType | keyof typeof blockEncoders;

/** Values from here on become infinity in half precision. */
const halfLimit = 65520;

/** A tensor whose values are asked for when its turn to be written comes. */
export function lazyTensor(
  about: { name: string; shape: readonly number[]; dtype: StoredType },
  values: () => Float32Array,
): LazyTensor {
  const { block, bytes } = ggmlTypes[about.dtype];
  return {
    ...about,
    byteLength: elementCount(about.shape) / block * bytes,
    data: () => encode(values(), about),
  };
}

/** The bytes of `x`. UserError when a value does not fit half precision, or no block (NaN, infinity). */
export function encode(x: Float32Array, { dtype, name }: { dtype: StoredType; name: string }): Uint8Array {
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") return blockEncoders[dtype](x, { name });
  if (dtype === "F16") checkHalf(x, name);
  const stored = dtype === "F32" ? x : dtype === "F16" ? f32ToF16(x) : f32ToBf16(x);
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}

function checkHalf(x: Float32Array, name: string): void {
  let largest = 0;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i]));
  if (largest < halfLimit) return;
  throw new UserError(`Cannot write tensor "${name}" as F16: it holds ${largest}, and F16 ends at 65504`, {
    hint: "Export it as bf16.",
  });
}
