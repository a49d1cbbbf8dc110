/**
 * GPU memory: buffers are made once and handed out again by size, and every byte is counted. A buffer serves whoever
 * needs at least three quarters of it. What comes again with every batch has a purpose by name, whose buffers are as
 * large as its largest batch needed: smaller batches then ask for the same buffers in the same order.
 */
import { UserError } from "../errors.ts";
import type { Gpu } from "./device.ts";

export interface Buffers {
  /** A buffer of at least `bytes`; its contents are whatever was there. */
  take(bytes: number): GPUBuffer;
  /** The same for a purpose: a buffer of at least what was ever asked for it. */
  takeFor(purpose: string, bytes: number): GPUBuffer;
  give(buffer: GPUBuffer): void;
  /** Frees what is not in use and forgets the purposes. */
  trim(): void;
  /** Bytes of all buffers, in use and free, and the most there were. */
  bytes(): number;
  peak(): number;
  close(): void;
}

const usage = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

/** Sizes of large buffers are whole multiples of this. */
const granule = 65_536;

function roundedUp(bytes: number): number {
  const step = bytes <= granule ? 256 : granule;
  return Math.ceil(bytes / step) * step;
}

/** A buffer and its number, counted from the first that was made. */
type Numbered = GPUBuffer & { id?: number; room?: number };

/** Bytes of a buffer that was made here: its own `size` is a call into the driver's library. */
export function roomOf(buffer: Numbered): number {
  return buffer.room!;
}

/** `flush` submits what was encoded: buffers in it must not be destroyed. */
export function makeBuffers(gpu: Gpu, { flush }: { flush: () => void }): Buffers {
  /** Free buffers by size, those of one size by number. */
  const free = new Map<number, Numbered[]>();
  const used = new Set<GPUBuffer>();
  /** Bytes of purposes. */
  const largest = new Map<string, number>();
  let total = 0, peak = 0, count = 0;

  function make(size: number): Numbered {
    if (size > gpu.limits.maxBufferSize) {
      throw new UserError(
        `A tensor of ${size} bytes is larger than ${gpu.name} allows (${gpu.limits.maxBufferSize})`,
        { hint: "Lower max_length or the batch size, or use --engine onnx." },
      );
    }
    const buffer: Numbered = gpu.device.createBuffer({ size, usage: usage() });
    buffer.id = ++count;
    buffer.room = size;
    total += size;
    peak = Math.max(peak, total);
    return buffer;
  }

  function take(bytes: number): GPUBuffer {
    // What is asked for is rounded first: a buffer made for it must be found again, however much was added.
    const wanted = roundedUp(bytes);
    let best = Infinity;
    if (free.get(wanted)?.length) best = wanted;
    else {
      for (const [size, { length }] of free) {
        if (length > 0 && size >= wanted && size * 0.75 <= wanted && size < best) best = size;
      }
    }
    // Of one size the first: a step that takes and gives as the one before gets the same buffers, and so finds its
    // bind groups again.
    const buffer = best < Infinity ? free.get(best)!.shift()! : make(wanted);
    used.add(buffer);
    return buffer;
  }

  function freeUnused(): void {
    flush();
    for (const buffer of [...free.values()].flat()) {
      total -= roomOf(buffer);
      buffer.destroy();
    }
    free.clear();
  }

  return {
    take,
    takeFor(purpose, bytes) {
      const before = largest.get(purpose) ?? 0, wanted = Math.max(before, roundedUp(bytes));
      // What smaller batches worked in is of no more use.
      if (before > 0 && wanted > before) freeUnused();
      largest.set(purpose, wanted);
      return take(wanted);
    },
    give(given) {
      if (!used.delete(given)) return;
      const buffer: Numbered = given, size = roomOf(buffer);
      let list = free.get(size);
      if (!list) free.set(size, list = []);
      let at = list.length;
      while (at > 0 && list[at - 1].id! > buffer.id!) at--;
      list.splice(at, 0, buffer);
    },
    trim() {
      freeUnused();
      largest.clear();
    },
    bytes: () => total,
    peak: () => peak,
    close() {
      for (const buffer of [...[...free.values()].flat(), ...used]) buffer.destroy();
      free.clear();
      used.clear();
      total = 0;
    },
  };
}
