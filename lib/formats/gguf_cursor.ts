/**
 * Reads the numbers and strings of a GGUF header front to back through a window of the source, so that a header of any
 * length costs a few large reads and the tensor data is never touched. Every length is checked against what the file
 * has left before anything is allocated.
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "./byte_source.ts";

export interface Cursor {
  /** Absolute offset of the next byte. */
  position(): number;
  /** Bytes of the file after it. */
  left(): number;
  u8(): number;
  u16(): number;
  u32(): number;
  /** As a bigint, because sizes in hostile files do not fit a number. */
  u64(): bigint;
  f32(): number;
  f64(): number;
  /** `length` bytes, a view that stays valid. */
  bytes(length: number): Uint8Array;
  /** u64 length of at most `limit` bytes, then UTF-8. `what` is named in errors. */
  string(what: string, limit?: number): string;
  /** A u64 count of things that take at least `each` bytes; refused when the file is too small for them. */
  count(what: string, each: number): number;
  /** The error for something wrong at this place. */
  refuse(why: string): UserError;
}

/** Bytes read at a time. */
const window = 1 << 20;
/** Bytes of a string value: a thousand times the longest chat template there is. */
const maxString = 1 << 26;

export function openCursor(source: ByteSource): Cursor {
  let buffer = new Uint8Array(0);
  let view = new DataView(buffer.buffer);
  /** Absolute offset of buffer[0], and the next byte inside it. */
  let base = 0, next = 0;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  const position = () => base + next;
  const left = () => source.size - position();
  const refuse = (why: string) =>
    new UserError(`Cannot read ${source.name}: ${why}`, {
      hint: "The file is cut short, damaged or not GGUF: fetch or copy it again.",
    });
  const outOf = (length: number, what: string) =>
    refuse(`${what} needs ${length} bytes at offset ${position()}, file has ${left()} left`);

  /** Makes the next `length` bytes available and steps over them; their start in the buffer. */
  function take(length: number, what = "the header"): number {
    if (next + length > buffer.length) {
      if (length > left()) throw outOf(length, what);
      base += next;
      next = 0;
      buffer = source.read(base, Math.min(Math.max(window, length), source.size - base)) as Uint8Array<ArrayBuffer>;
      view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    }
    const start = next;
    next += length;
    return start;
  }

  function string(what: string, limit = maxString): string {
    const at = take(8, what), length = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    if (length > left()) throw outOf(length, what);
    if (length > limit) {
      throw refuse(`${what} at offset ${position() - 8} has ${length} bytes, at most ${limit} are possible`);
    }
    const start = take(length, what), end = next;
    if (end - start <= 64) {
      // Most tokens are short and ASCII: far cheaper than a call of the decoder.
      let ascii = 0, text = "";
      for (let i = start; i < end; i++) ascii |= buffer[i];
      if (ascii < 128) {
        for (let i = start; i < end; i++) text += String.fromCharCode(buffer[i]);
        return text;
      }
    }
    try {
      return decoder.decode(buffer.subarray(start, end));
    } catch {
      throw refuse(`${what} at offset ${base + start} is not UTF-8`);
    }
  }

  function view64(what?: string): bigint {
    const start = take(8, what);
    return view.getBigUint64(start, true);
  }

  return {
    position,
    left,
    refuse,
    string,
    u8: () => buffer[take(1)],
    u16: () => (take(2), view.getUint16(next - 2, true)),
    u32: () => (take(4), view.getUint32(next - 4, true)),
    u64: () => view64(),
    f32: () => (take(4), view.getFloat32(next - 4, true)),
    f64: () => (take(8), view.getFloat64(next - 8, true)),
    bytes(length) {
      const start = take(length);
      return buffer.subarray(start, start + length);
    },
    count(what, each) {
      const at = position(), count = view64(what);
      if (count * BigInt(each) > BigInt(left())) {
        throw refuse(
          `${count} ${what} announced at offset ${at} need ${count * BigInt(each)} bytes, file has ${left()} left`,
        );
      }
      return Number(count);
    },
  };
}
