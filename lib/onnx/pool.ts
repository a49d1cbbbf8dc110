/**
 * Reuse of f32 buffers. A buffer is given out to anyone whose need fills at least three quarters of it: batches differ
 * a little in their number of tokens, and a buffer a size would hold the memory of all of them at once. When nothing
 * fits, as much as is made new is dropped of what lay unused longest, so that sizes of the past do not add up.
 */
export interface Pool {
  take(length: number): Float32Array;
  give(view: Float32Array): void;
  /** Bytes of all buffers, in use and free. */
  bytes(): number;
  /** Frees the buffers that are not in use, at once. */
  trim(): void;
}

export function createPool(): Pool {
  /** Oldest first. */
  let free: ArrayBuffer[] = [];
  let total = 0;

  function dropOldest(need: number): void {
    for (let dropped = 0; dropped < need && free.length > 0;) {
      const oldest = free.shift()!;
      dropped += oldest.byteLength;
      total -= oldest.byteLength;
      oldest.transfer(0);
    }
  }

  return {
    take(length) {
      const need = length * 4;
      let best = -1;
      for (let i = 0; i < free.length; i++) {
        const size = free[i].byteLength;
        if (size >= need && size * 0.75 <= need && (best < 0 || size < free[best].byteLength)) best = i;
      }
      if (best >= 0) return new Float32Array(free.splice(best, 1)[0], 0, length);
      // A little room, so that a slightly longer batch finds place too.
      const buffer = new ArrayBuffer(need < 1 << 16 ? Math.max(64, need) : Math.ceil(need / 65536 * 1.02) * 65536);
      dropOldest(buffer.byteLength);
      total += buffer.byteLength;
      return new Float32Array(buffer, 0, length);
    },
    give(view) {
      free.push(view.buffer as ArrayBuffer);
    },
    bytes: () => total,
    trim() {
      for (const buffer of free) {
        total -= buffer.byteLength;
        buffer.transfer(0); // without waiting for the collector
      }
      free = [];
    },
  };
}
