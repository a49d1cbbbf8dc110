/**
 * Where a format reader gets its bytes: something with a size that can be read at an offset, synchronously.
 * Readers in this folder know nothing of files or networks; lib/files makes a ByteSource of a file.
 */
import { UserError } from "../errors.ts";

export interface ByteSource {
  /** What to call it in messages, usually the path. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * `length` bytes from `offset`, a fresh copy or a view of shared memory: do not write to it.
   * Throws UserError when the range is not inside the source.
   */
  read(offset: number, length: number): Uint8Array;
  /** Gives the underlying resource back; later reads are errors. Closing twice is fine. */
  close(): void;
}

/** A source over memory; reads are views. */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.length,
    read(offset, length) {
      checkRange({ name, size: bytes.length }, { offset, length });
      return bytes.subarray(offset, offset + length);
    },
    close() {},
  };
}

/** Throws UserError unless [offset, offset + length) lies inside the source. */
export function checkRange(
  source: { name: string; size: number },
  range: { offset: number; length: number },
): void {
  const { offset, length } = range;
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset + length > source.size) {
    const left = Math.max(0, source.size - offset);
    throw new UserError(
      `Cannot read ${source.name}: needs ${length} bytes at offset ${offset}, file has ${left} left of ${source.size}`,
      { hint: "The file is cut short or damaged: fetch or copy it again." },
    );
  }
}
