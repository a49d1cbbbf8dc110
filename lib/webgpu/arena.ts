/**
 * Where parameters lie in an arena: one flat tensor of blocks of 256 elements, each parameter from a new block on. Those
 * with 8-bit moments come first, so that each kind of optimiser state is a run of whole blocks.
 */
import type { GpuTensor } from "./commands.ts";
import { tensorBytes } from "./commands.ts";
import { bytesOf, elements } from "./dispatch.ts";
import { block } from "./optimizer_kernels.ts";

/** Parts of an arena start at multiples of so many blocks: then every tensor's part starts at a multiple of 256 bytes. */
const partStep = 64;

export interface Arena {
  blocks: number;
  /** Blocks of parameters with 8-bit moments: [0, coded). */
  coded: number;
  /** First block of each parameter. */
  starts: number[];
  /** Elements that count in each block. */
  lengths: Uint32Array<ArrayBuffer>;
}

/** `sizes`: elements of each parameter; `isCoded`: which have 8-bit moments. */
export function layOutArena(sizes: number[], isCoded: (size: number) => boolean): Arena {
  const starts = new Array<number>(sizes.length), lengths: number[] = [];
  const place = (wanted: boolean) =>
    sizes.forEach((size, i) => {
      if (isCoded(size) !== wanted) return;
      starts[i] = lengths.length;
      for (let at = 0; at < size; at += block) lengths.push(Math.min(block, size - at));
    });
  place(true);
  while (lengths.length % partStep > 0) lengths.push(0);
  const coded = lengths.length;
  place(false);
  return { blocks: lengths.length, coded, starts, lengths: Uint32Array.from(lengths) };
}

/** Cuts blocks [start, end) into parts of which no tensor is larger than `maxBinding`, at `blockBytes` a block. */
export function partsOf(
  start: number,
  end: number,
  { maxBinding, blockBytes }: { maxBinding: number; blockBytes: number },
): [start: number, end: number][] {
  const most = Math.max(1, Math.floor(maxBinding / blockBytes / partStep)) * partStep;
  const parts: [number, number][] = [];
  for (let at = start; at < end; at += most) parts.push([at, Math.min(end, at + most)]);
  return parts;
}

/** Rows start..end of a tensor. */
export function rowsOf(tensor: GpuTensor, start: number, end: number): GpuTensor {
  const shape = [end - start, ...tensor.shape.slice(1)], { dtype } = tensor;
  const rowBytes = elements(tensor.shape.slice(1)) * bytesOf[dtype];
  return { ...tensor, shape, offset: tensor.offset + start * rowBytes, bytes: tensorBytes(shape, dtype) };
}
