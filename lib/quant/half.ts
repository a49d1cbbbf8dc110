/** Weights kept in 16 bits, f16 or bfloat16, as f32: exact, so that it does not matter where they are written out. */
import { bf16ToF32, f16ToF32 } from "../formats/float16.ts";

export interface HalfWeight {
  format: "f16" | "bf16";
  /** 16-bit patterns. */
  data: Uint16Array;
}

/** Elements start..end as f32. */
export function halfToF32(
  { format, data }: HalfWeight,
  { start = 0, end = data.length }: { start?: number; end?: number } = {},
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(end - start), piece = data.subarray(start, end);
  if (format === "f16") f16ToF32(piece, out);
  else bf16ToF32(piece, out);
  return out;
}
