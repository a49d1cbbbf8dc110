/** What wrappers of elementwise and row kernels share: vectors of four where rows allow it, and bytes for the profile. */
import { bytesOf, elements, type TensorLike } from "./dispatch.ts";

/**
 * How a kernel walks rows of `width` numbers: in vectors of four where rows start on whole vectors, else in single
 * numbers. A kernel that can do both has element types of storage (`of`), of arithmetic (`Float`), and `share`: what
 * each component counts when a sum is taken over vec4<f32>(value), which repeats a single number four times.
 */
export interface Vectors {
  size: 1 | 4;
  of(tensor: TensorLike): string;
  Float: string;
  share: string;
}

/** Every width (and offset in a row) must be a multiple of four. */
export function vectorsOf(...widths: number[]): Vectors {
  return widths.every((width) => width % 4 === 0)
    ? { size: 4, of: ({ dtype }) => `vec4<${dtype}>`, Float: "vec4<f32>", share: "1.0" }
    : { size: 1, of: ({ dtype }) => dtype, Float: "f32", share: "0.25" };
}

/** Bytes of whole tensors, each moved once. */
export function bytesMoved(...tensors: TensorLike[]): number {
  return tensors.reduce((sum, { shape, dtype }) => sum + elements(shape) * bytesOf[dtype], 0);
}

/** The last axis. */
export function widthOf({ shape }: TensorLike): number {
  return shape[shape.length - 1];
}

/** Vectors of four that hold all elements; the last may reach into the buffer's padding. */
export function flatVectors({ shape }: TensorLike): number {
  return Math.ceil(elements(shape) / 4);
}
