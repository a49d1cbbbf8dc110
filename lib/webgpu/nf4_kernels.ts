/** NF4 codes to numbers as a kernel call. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved } from "./vectors.ts";

/** Codes of an NF4 matrix as the GPU holds them. */
export interface Nf4Codes<T> {
  /** u32: two codes a byte, the even one in the high half, bytes in the order of memory. */
  packed: T;
  /** f32 maximum of each 64 numbers; or, double-quantised, `double`. */
  absmax?: T;
  /**
   * 8-bit codes of the maxima (u32, four to a word); f32: what the 256 codes stand for, then the maximum of each 256
   * blocks; and the maxima's mean.
   */
  double?: { codes: T; nested: T; offset: number };
}

/** y = the numbers of the codes, f32 or f16. */
export function dequantizeNf4<T extends TensorLike>(
  { packed, absmax, double, y }: Nf4Codes<T> & { y: T },
): Dispatch<T> {
  const count = Math.ceil(elements(y.shape) / 8), half = y.dtype === "f16";
  return {
    kernel: "nf4_dequantize",
    constants: { ...half ? { half: "true", Y: "vec4<u32>" } : {}, ...double ? { double: "true" } : {} },
    tensors: [packed, absmax ?? null, double?.codes ?? null, double?.nested ?? null, y],
    params: [count, { f32: double?.offset ?? 0 }, 0, Math.ceil(elements(y.shape) / 4)],
    grid: spread(Math.ceil(count / (4 * 256))),
    work: { bytes: bytesMoved(packed, y) + (double ? 1.02 : 4) * Math.ceil(elements(y.shape) / 64) },
  };
}
