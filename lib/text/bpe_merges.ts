/**
 * Byte-pair merging on ids: joins neighbouring symbols of a word, always the pair that stands first in the list of
 * merges, of equal ones the leftmost, until no pair is in the list.
 *
 * The list is one hash table of integers: half a million pairs, as Gemma has, fill 16 MiB. Words are arrays of symbols: an
 * id, or any negative number for what is not in the vocabulary and therefore joins nothing.
 */
import { hashOf, tableOf, unitReader } from "./string_table.ts";

/** As a tokenizer.json lists it: "a b" in older files, two pieces in newer ones. */
export type Merge = string | [string, string];

export interface Merges {
  /** Joins what can be joined, in place. */
  join(symbols: number[]): void;
}

export function mergePair(merge: Merge): [string, string] {
  return typeof merge === "string" ? merge.split(" ", 2) as [string, string] : merge;
}

/** What a byte-pair model knows, in tables. */
export interface BpeVocabulary {
  /** Pieces with their ids. */
  ids: Map<string, number>;
  /** Merges as ids, three each: left, right, and what they make; the first is joined first. */
  merges: Int32Array;
}

/** A function that finds the id of a piece by its UTF-16 units [start, end) of `codes` and their hash; -1 where it is none. */
export function idsOfPieces(
  pieces: ReadonlyMap<string, number>,
): (codes: Uint16Array, start: number, end: number, hash: number) => number {
  const table = tableOf(pieces.keys()), ids = Int32Array.from(pieces.values());
  return (codes, start, end, hash) => {
    const number = table.find(codes, start, end, hash);
    return number < 0 ? -1 : ids[number];
  };
}

/**
 * Merges as ids. Null when a merge has a part, or makes a piece, that is not in the vocabulary, so that ids cannot stand
 * for pieces.
 */
export function mergeIds(merges: Merge[], pieces: ReadonlyMap<string, number>): Int32Array | null {
  const find = idsOfPieces(pieces), unitsOf = unitReader(), ids = new Int32Array(3 * merges.length);
  const idOf = (piece: string) => {
    const codes = unitsOf(piece);
    return find(codes, 0, piece.length, hashOf(codes, 0, piece.length));
  };
  for (let rank = 0; rank < merges.length; rank++) {
    const [left, right] = mergePair(merges[rank]);
    if (right === undefined) return null; // no space in it: a damaged file, which the library judges
    const found = [idOf(left), idOf(right), idOf(left + right)];
    if (found.includes(-1)) return null;
    ids.set(found, 3 * rank);
  }
  return ids;
}

/** Four integers a slot: left and right id, rank, id of what they make. */
const slotSize = 4;

/** `ids`: as mergeIds gives them, the first joined first. */
export function makeMerges(ids: Int32Array): Merges {
  const size = 1 << Math.ceil(Math.log2(2 * ids.length / 3 + 2)), mask = size - 1;
  const table = new Int32Array(slotSize * size).fill(-1);
  /** Where in the table a pair stands, or would stand. */
  const slotOf = (left: number, right: number): number => {
    let slot = (Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b) >>> 9) & mask;
    while (table[slotSize * slot] !== -1) {
      if (table[slotSize * slot] === left && table[slotSize * slot + 1] === right) break;
      slot = (slot + 1) & mask;
    }
    return slotSize * slot;
  };
  for (let i = 0; i < ids.length; i += 3) {
    const at = slotOf(ids[i], ids[i + 1]);
    // Of a pair that is listed twice the last rank counts, as in the libraries that read the file.
    table[at] = ids[i];
    table[at + 1] = ids[i + 1];
    table[at + 2] = i / 3;
    table[at + 3] = ids[i + 2];
  }
  return { join: (symbols) => symbols.length < 2 ? undefined : joinAll(symbols, table, slotOf) };
}

/** Pairs wait in a heap as rank * positions + position of the left symbol: no string is longer, no list has 2^24 merges. */
const positions = 2 ** 29;

function joinAll(symbols: number[], table: Int32Array, slotOf: (left: number, right: number) => number): void {
  const count = symbols.length;
  // A doubly linked list of the symbols that are left. A joined one stays at the position of its left half; that of its
  // right half is left out, and its `next` becomes 0.
  const next = new Int32Array(count), previous = new Int32Array(count), heap: number[] = [];
  const offer = (at: number) => {
    if (at < 0 || next[at] >= count) return;
    const left = symbols[at], right = symbols[next[at]];
    if (left < 0 || right < 0) return;
    const slot = slotOf(left, right);
    if (table[slot] !== -1) push(heap, table[slot + 2] * positions + at);
  };
  for (let at = 0; at < count; at++) {
    next[at] = at + 1;
    previous[at] = at - 1;
  }
  for (let at = 0; at < count - 1; at++) offer(at);
  while (heap.length > 0) {
    const key = pop(heap), at = key % positions, rank = (key - at) / positions, other = next[at];
    // An entry is stale when one of its two symbols has been joined with another since.
    if (other === 0 || other >= count) continue;
    const slot = slotOf(symbols[at], symbols[other]);
    if (table[slot] === -1 || table[slot + 2] !== rank) continue;
    symbols[at] = table[slot + 3];
    next[at] = next[other];
    if (next[other] < count) previous[next[other]] = at;
    next[other] = 0;
    offer(previous[at]);
    offer(at);
  }
  let kept = 0;
  for (let at = 0; at < count; at = next[at]) symbols[kept++] = symbols[at];
  symbols.length = kept;
}

function push(heap: number[], key: number): void {
  let at = heap.length;
  heap.push(key);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent] <= key) break;
    heap[at] = heap[parent];
    at = parent;
  }
  heap[at] = key;
}

/** Takes the smallest key out. */
function pop(heap: number[]): number {
  const smallest = heap[0], key = heap.pop()!;
  for (let at = 0; at < heap.length;) {
    let child = 2 * at + 1;
    if (child + 1 < heap.length && heap[child + 1] < heap[child]) child++;
    if (child >= heap.length || heap[child] >= key) {
      heap[at] = key;
      break;
    }
    heap[at] = heap[child];
    at = child;
  }
  return smallest;
}
