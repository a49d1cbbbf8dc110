/**
 * A kernel call as data: which file of kernels/, its constants, its tensors, its parameters and its grid. Made by the
 * wrappers (*_kernels.ts) without a device, so that the arithmetic of grids and variants can be tested anywhere.
 */

export type Dtype = "f32" | "f16" | "i32" | "u32";

export const bytesOf: Record<Dtype, number> = { f32: 4, f16: 2, i32: 4, u32: 4 };

/** What a wrapper needs to know of a tensor. */
export interface TensorLike {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
}

export interface Dispatch<T extends TensorLike = TensorLike> {
  /** File in kernels/, without .wgsl. */
  kernel: string;
  /** Values for the file's `const` and `alias` lines, by name, where they differ from those that stand there. */
  constants?: Record<string, number | string>;
  /** Tensors of bindings 1, 2, ...; null for one that this variant does not use. */
  tensors: (T | null)[];
  /** Fields of the kernel's Params (binding 0), in order: u32 unless marked; at most 64 bytes. */
  params: (number | { f32: number })[];
  /** Workgroups, each at most 65,535: see `spread`. */
  grid: readonly [number, number, number];
  /** Floating-point operations and bytes moved at least, for the profile. */
  work?: { flop?: number; bytes?: number };
}

/** What kernels may use on a device. */
export interface KernelTarget {
  f16: boolean;
  /** Subgroup matrices (tensor cores). */
  matrix: boolean;
  /** Loops cost much there: kernels write them out, where compiling that does not take longer than it saves. */
  unroll?: boolean;
  /** Largest part of a buffer that a kernel may be given, bytes. */
  maxBinding: number;
}

const mostWorkgroups = 65_535;

/**
 * `count` workgroups as a grid whose x is at most 65,535; the kernel's index is wg.y * num_workgroups.x + wg.x and must
 * be compared with the count, since the last row may be longer than needed.
 */
export function spread(count: number): [number, number, number] {
  if (count <= mostWorkgroups) return [Math.max(1, count), 1, 1];
  const rows = Math.ceil(count / mostWorkgroups);
  return [Math.ceil(count / rows), rows, 1];
}

export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
