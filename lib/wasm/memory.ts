/**
 * One shared memory that everything of the WASM engine lies in, and who has which part of it. Parts begin at multiples of
 * 64 bytes and end at least 16 behind what was asked for: kernels may read and write whole vectors. Fresh parts are
 * zeros, and cost nothing until they are written.
 */

import { UserError } from "../errors.ts";

/**
 * Bytes before the first part: the threads' words (run.wat), tables (weight.ts), and a part for each thread's scores
 * (attention.wat).
 */
export const reserved = (threads: number) => 65_536 + (threads << 20);

/** All that 32-bit addresses reach. */
export const mostBytes = 2 ** 32;

const page = 65_536;

export interface SharedMemory {
  readonly memory: WebAssembly.Memory;
  /** The address of a new part. UserError where memory is used up. */
  allocate(bytes: number): number;
  free(address: number): void;
  /** Bytes that were never given out. */
  room(): number;
  floats(address: number, count: number): Float32Array;
  integers(address: number, count: number): Int32Array;
  bytes(address: number, count: number): Uint8Array;
}

interface Gap {
  start: number;
  end: number;
}

export function sharedMemory(threads: number): SharedMemory {
  const first = reserved(threads);
  const memory = new WebAssembly.Memory({ initial: first / page, maximum: mostBytes / page, shared: true });
  /** Free parts before `top`, in order. */
  const gaps: Gap[] = [];
  const sizes = new Map<number, number>();
  let top = first;

  function place(size: number): number {
    const best = gaps.reduce<Gap | undefined>((best, gap) => {
      const room = gap.end - gap.start;
      return room >= size && !(best && best.end - best.start <= room) ? gap : best;
    }, undefined);
    if (best) {
      best.start += size;
      if (best.start === best.end) gaps.splice(gaps.indexOf(best), 1);
      return best.start - size;
    }
    const missing = top + size - memory.buffer.byteLength;
    if (top + size > mostBytes) {
      throw new UserError(
        `${size} bytes are more than ${mostBytes - top}, which are left of the WASM engine's memory`,
        {
          hint: "a shorter context, fewer answers at once or fewer adapters need less",
        },
      );
    }
    if (missing > 0) memory.grow(Math.ceil(missing / page));
    top += size;
    return top - size;
  }

  return {
    memory,
    allocate(bytes) {
      const size = Math.ceil((bytes + 16) / 64) * 64, address = place(size);
      sizes.set(address, size);
      return address;
    },
    free(address) {
      const start = address, end = address + sizes.get(address)!;
      sizes.delete(address);
      const next = gaps.findIndex((gap) => gap.start > start), at = next < 0 ? gaps.length : next;
      const before = gaps[at - 1], after = gaps[at];
      if (before?.end === start) {
        before.end = end;
        if (after?.start !== end) return;
        before.end = after.end;
        gaps.splice(at, 1);
      } else if (after?.start === end) after.start = start;
      else gaps.splice(at, 0, { start, end });
    },
    room: () => mostBytes - top,
    floats: (address, count) => new Float32Array(memory.buffer, address, count),
    integers: (address, count) => new Int32Array(memory.buffer, address, count),
    bytes: (address, count) => new Uint8Array(memory.buffer, address, count),
  };
}
