/**
 * Kernel calls of an optimiser step over arenas of blocks of 256 elements: `lengths` u32 [blocks] says how many elements
 * of each block count. `scalars` and `control` f32 [16] are laid out as kernels/optimizer_control.wgsl says.
 */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved } from "./vectors.ts";

/** Elements of a block. */
export const block = 256;

/** Workgroups that add up squares: enough to fill a large GPU, few enough that their sums are added by one. */
const mostSums = 1024;

/** Sums that gradientNorm writes for so many blocks. */
export function sumsOf(blocks: number): number {
  return Math.min(mostSums, Math.max(1, Math.ceil(blocks / 4)));
}

/** sums[first...] = sums of squares of the gradients, g [blocks, 256]. */
export function gradientNorm<T extends TensorLike>(
  { lengths, scalars, g, sums }: { lengths: T; scalars: T; g: T; sums: T },
  { first = 0 }: { first?: number } = {},
): Dispatch<T> {
  const [blocks] = g.shape, groups = sumsOf(blocks);
  return {
    kernel: "gradient_norm",
    tensors: [lengths, scalars, g, sums],
    params: [blocks, groups, first],
    grid: [groups, 1, 1],
    work: { bytes: bytesMoved(g), flop: 2 * elements(g.shape) },
  };
}

/** control from scalars and all sums [count]. */
export function optimizerControl<T extends TensorLike>(
  { scalars, sums, control }: { scalars: T; sums: T; control: T },
): Dispatch<T> {
  return {
    kernel: "optimizer_control",
    tensors: [scalars, sums, control],
    params: [elements(sums.shape)],
    grid: [1, 1, 1],
  };
}

/** What both optimisers work on. grad and w f32 [blocks, 256]. */
interface StepTensors<T> {
  lengths: T;
  control: T;
  grad: T;
  w: T;
}

/** A step with f32 moments m and v [blocks, 256], in torch's form or in bitsandbytes' for small tensors. */
export function adamw<T extends TensorLike>(
  { lengths, control, grad, w, m, v }: StepTensors<T> & { m: T; v: T },
  { form }: { form: "torch" | "bitsandbytes" },
): Dispatch<T> {
  const [blocks] = w.shape;
  return {
    kernel: "adamw",
    constants: { torch: `${form === "torch"}` },
    tensors: [lengths, control, grad, w, m, v],
    params: [blocks],
    grid: spread(Math.ceil(blocks / 4)),
    work: { bytes: bytesMoved(grad, w, w, m, m, v, v) },
  };
}

/** A step with 8-bit moments: codes u32 [blocks, 128], maxima f32 [blocks, 2], tables u32 as the kernel says. */
export function adamw8bit<T extends TensorLike>(
  { lengths, control, tables, grad, w, codes, maxima }: StepTensors<T> & { tables: T; codes: T; maxima: T },
): Dispatch<T> {
  const [blocks] = w.shape;
  return {
    kernel: "adamw_8bit",
    tensors: [lengths, control, tables, grad, w, codes, maxima],
    params: [blocks],
    grid: spread(Math.ceil(blocks / 4)),
    work: { bytes: bytesMoved(grad, w, w, codes, codes) },
  };
}
