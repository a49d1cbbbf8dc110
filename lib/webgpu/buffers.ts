/**
 * GPU memory: buffers are made once and handed out again by size, and every byte is counted. A buffer serves whoever
 * needs at least three quarters of it, so that batches of nearly equal size share; what a run needs at most can be
 * reserved by making values for the largest pass (`capacity` in executor.ts).
 */
import { UserError } from "../errors.ts";
import type { Gpu } from "./device.ts";

export interface Buffers {
  /** A buffer of at least `bytes`; its contents are whatever was there. */
  take(bytes: number): GPUBuffer;
  give(buffer: GPUBuffer): void;
  /** Frees what is not in use. */
  trim(): void;
  /** Bytes of all buffers, in use and free, and the most there were. */
  bytes(): number;
  peak(): number;
  close(): void;
}

const usage = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

/** Sizes of large buffers are whole multiples of this. */
const granule = 65_536;

export function makeBuffers(gpu: Gpu): Buffers {
  let free: GPUBuffer[] = [];
  const used = new Set<GPUBuffer>();
  let total = 0, peak = 0;

  function make(bytes: number): GPUBuffer {
    const size = bytes <= granule ? Math.ceil(bytes / 256) * 256 : Math.ceil(bytes / granule) * granule;
    if (size > gpu.limits.maxBufferSize) {
      throw new UserError(
        `A tensor of ${size} bytes is larger than ${gpu.name} allows (${gpu.limits.maxBufferSize})`,
        { hint: "Lower max_length or the batch size, or use --engine onnx." },
      );
    }
    const buffer = gpu.device.createBuffer({ size, usage: usage() });
    total += size;
    peak = Math.max(peak, total);
    return buffer;
  }

  return {
    take(bytes) {
      let best = -1;
      for (let i = 0; i < free.length; i++) {
        const { size } = free[i];
        if (size >= bytes && size * 0.75 <= Math.max(bytes, 256) && (best < 0 || size < free[best].size)) best = i;
      }
      const buffer = best >= 0 ? free.splice(best, 1)[0] : make(bytes);
      used.add(buffer);
      return buffer;
    },
    give(buffer) {
      if (used.delete(buffer)) free.push(buffer);
    },
    trim() {
      for (const buffer of free) {
        total -= buffer.size;
        buffer.destroy();
      }
      free = [];
    },
    bytes: () => total,
    peak: () => peak,
    close() {
      for (const buffer of [...free, ...used]) buffer.destroy();
      free = [];
      used.clear();
      total = 0;
    },
  };
}
