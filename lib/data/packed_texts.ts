/**
 * A list of texts of any number that can be looked up in any order and takes bounded memory: they lie in blocks of UTF-8,
 * of which those used last are held as they are and the others deflated.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";

export interface PackedTexts {
  add(text: string): void;
  /** Undefined for an index that is not a text's. */
  at(index: number): string | undefined;
  readonly length: number;
}

interface Block {
  /** The index of its first text. */
  first: number;
  /** Set as soon as it was packed; it does not change any more. */
  packed?: Uint8Array;
}

/** A block as it is read: text i ends before the separator at ends[i]. */
interface Unpacked {
  bytes: Uint8Array;
  ends: Uint32Array;
}

/** Bytes of a block, unless one text alone is longer; a text far from the one before costs unpacking so many. */
const blockBytes = 1 << 14;
/** Bytes of all blocks that are held unpacked. */
const mostUnpacked = 1 << 25;
/** Packed blocks lie in pieces of memory of this size, since many small ones between others that are freed waste it. */
const poolBytes = 1 << 20;
/** Behind each text; no byte of UTF-8. */
const separator = 0xff;

export function makePackedTexts(): PackedTexts {
  const blocks: Block[] = [], unpacked = new Map<Block, Unpacked>();
  const encoder = new TextEncoder(), decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let held = 0, last: Block | undefined, pool = new Uint8Array(0), pooled = 0;
  /** The block that is being filled. */
  let bytes = new Uint8Array(blockBytes), used = 0, ends: number[] = [], count = 0;

  function add(text: string): void {
    // At most three bytes for each unit, and the separator.
    if (used + text.length * 3 + 1 > blockBytes && used > 0) finish();
    if (text.length * 3 + 1 > bytes.length) bytes = new Uint8Array(text.length * 3 + 1);
    used += encoder.encodeInto(text, bytes.subarray(used)).written;
    ends.push(used);
    bytes[used++] = separator;
    count++;
  }

  function finish(): void {
    const block: Block = { first: count - ends.length };
    blocks.push(block);
    hold(block, { bytes: bytes.slice(0, used), ends: Uint32Array.from(ends) });
    [used, ends] = [0, []];
  }

  /** Holds a block unpacked, the last to be let go; those longest not used are packed for it. */
  function hold(block: Block, content: Unpacked): void {
    unpacked.set(block, content);
    held += sizeOf(content);
    for (const [old, content] of unpacked) {
      if (held <= mostUnpacked) break;
      old.packed ??= kept(deflateRawSync(content.bytes, { level: 3 }));
      unpacked.delete(old);
      held -= sizeOf(content);
    }
  }

  function kept(packed: Uint8Array): Uint8Array {
    if (pooled + packed.length > pool.length) {
      [pool, pooled] = [new Uint8Array(Math.max(poolBytes, packed.length)), 0];
    }
    pool.set(packed, pooled);
    return pool.subarray(pooled, pooled += packed.length);
  }

  function contentOf(block: Block): Unpacked {
    let content = unpacked.get(block);
    if (content && block === last) return content;
    if (content) {
      unpacked.delete(block);
      unpacked.set(block, content);
    } else {
      content = unpack(block.packed!);
      hold(block, content);
    }
    last = block;
    return content;
  }

  return {
    add,
    get length() {
      return count;
    },
    at(index) {
      if (!Number.isInteger(index) || index < 0 || index >= count) return undefined;
      if (ends.length > 0) finish();
      const block = blocks[lastBefore(blocks, index)], { bytes, ends: found } = contentOf(block);
      const i = index - block.first;
      return decoder.decode(bytes.subarray(i === 0 ? 0 : found[i - 1] + 1, found[i]));
    },
  };
}

const sizeOf = ({ bytes, ends }: Unpacked) => bytes.byteLength + ends.byteLength;

function unpack(packed: Uint8Array): Unpacked {
  const bytes = inflateRawSync(packed, { chunkSize: blockBytes + 64 }), ends: number[] = [];
  for (let at = bytes.indexOf(separator); at >= 0; at = bytes.indexOf(separator, at + 1)) ends.push(at);
  return { bytes, ends: Uint32Array.from(ends) };
}

/** Of blocks in order, the last whose first text is not behind `index`. */
function lastBefore(blocks: Block[], index: number): number {
  let low = 0, high = blocks.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (blocks[middle].first <= index) low = middle;
    else high = middle;
  }
  return low;
}
