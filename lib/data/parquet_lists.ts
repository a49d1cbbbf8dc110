/**
 * Walks over the description of a Parquet file, or of a page, before it is decoded: the decoder makes an array of the
 * length that a list claims. Thrift's compact protocol:
 * https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */

const type = { stop: 0, true: 1, false: 2, byte: 3, i16: 4, i32: 5, i64: 6, double: 7, binary: 8, list: 9, struct: 12 };

/** Structures in one another; Parquet's own go to six. */
const deepest = 64;

/** Errors: Error for a list of more elements than bytes that are left, and for what is no structure at all. */
export function checkLists(bytes: Uint8Array): void {
  let at = 0;

  function next(): number {
    if (at >= bytes.length) throw new Error("its description ends too early");
    return bytes[at++];
  }
  function pass(count: number): void {
    at += count;
  }
  function varint(): number {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = next();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }
  function skip(kind: number, depth: number): void {
    if (kind === type.struct) return struct(depth + 1);
    if (kind === type.list) return list(depth + 1);
    if (kind === type.byte) next();
    else if (kind === type.double) pass(8);
    else if (kind === type.binary) pass(varint());
    else if (kind >= type.i16 && kind <= type.i64) varint();
    else if (kind !== type.true && kind !== type.false) throw new Error(`its description has a field of type ${kind}`);
  }
  function list(depth: number): void {
    const head = next(), start = at;
    const count = head >> 4 === 15 ? varint() : head >> 4, kind = head & 15;
    if (count > bytes.length - at) throw new Error(`its description has a list of ${count} elements at byte ${start}`);
    for (let i = 0; i < count; i++) skip(kind === type.true || kind === type.false ? type.byte : kind, depth);
  }
  function struct(depth: number): void {
    if (depth > deepest) throw new Error(`its description is nested more than ${deepest} deep`);
    for (;;) {
      const head = next();
      if ((head & 15) === type.stop) return;
      if (head >> 4 === 0) varint();
      skip(head & 15, depth);
    }
  }

  struct(0);
}
