/** NF4 codes to numbers as a kernel call, and how the parts of an NF4 matrix lie in memory. */
import { nestedBlock } from "../quant/double_quant.ts";
import { nf4Block } from "../quant/nf4.ts";
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

/** Bytes of a part, and where it starts. */
interface Part {
  offset: number;
  bytes: number;
}

/**
 * The parts of a matrix of `count` numbers in one buffer, each from a multiple of 256 bytes on: codes, then the maxima, or
 * their codes and what these stand for. gemv_nf4.wgsl finds them by the same arithmetic.
 */
export function nf4Layout(count: number, double: boolean) {
  const blocks = Math.ceil(count / nf4Block);
  let end = 0;
  const next = (bytes: number): Part => {
    const offset = end;
    end += Math.ceil(bytes / 256) * 256;
    return { offset, bytes };
  };
  const packed = next(Math.ceil(count / 2));
  const parts: Record<string, Part> = double
    ? { packed, codes: next(blocks), nested: next(4 * (256 + Math.ceil(blocks / nestedBlock))) }
    : { packed, absmax: next(4 * blocks) };
  return { parts, bytes: end };
}

/** Bytes that are read of `count` numbers: codes, and what their maxima are made of. */
export function nf4Bytes(count: number, double: boolean): number {
  return count / 2 + (double ? 1.02 : 4) * count / nf4Block;
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
