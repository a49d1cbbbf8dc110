/**
 * Strings to numbers 0, 1, 2, ...: a hash table in a few typed arrays, which finds a part of a text by its characters
 * without making a string of it, several times sooner than a Map. Characters are UTF-16 units.
 */
export interface StringTable {
  readonly size: number;
  /** Number of the string that is [start, end) of `text`, or -1. `hash` is that of these characters. */
  find(text: string, start: number, end: number, hash: number): number;
  /** Adds a string that is not in the table under the next number; false when it is full. */
  add(text: string, hash: number): boolean;
  clear(): void;
}

/** The hash of characters seen before, `hash` (0 at first), and one more: FNV-1a without its offset. */
export function hashOn(hash: number, code: number): number {
  return Math.imul(hash ^ code, 0x01000193);
}

export function hashOf(text: string, start = 0): number {
  let hash = 0;
  for (let i = start; i < text.length; i++) hash = hashOn(hash, text.charCodeAt(i));
  return hash;
}

export function makeStringTable(most: { strings: number; characters: number }): StringTable {
  const bits = Math.ceil(Math.log2(2 * most.strings + 2)), mask = (1 << bits) - 1;
  /** Two integers a slot: 1 + number of the string, 0 for none, and its hash. */
  const slots = new Int32Array(2 << bits);
  /** A string's characters end where those of the next begin. */
  const starts = new Int32Array(most.strings + 1);
  const characters = new Uint16Array(most.characters);
  let count = 0;
  /** The upper bits of a product, in which all bits of the hash have a part (Knuth, TAOCP 3, 6.4). */
  const slotOf = (hash: number) => Math.imul(hash, 0x9e3779b1) >>> (32 - bits);
  const isAt = (number: number, text: string, start: number, end: number) => {
    const first = starts[number];
    if (starts[number + 1] - first !== end - start) return false;
    for (let i = 0; i < end - start; i++) if (characters[first + i] !== text.charCodeAt(start + i)) return false;
    return true;
  };
  return {
    get size() {
      return count;
    },
    find(text, start, end, hash) {
      for (let slot = slotOf(hash); slots[2 * slot] !== 0; slot = (slot + 1) & mask) {
        if (slots[2 * slot + 1] !== hash) continue;
        const number = slots[2 * slot] - 1;
        if (isAt(number, text, start, end)) return number;
      }
      return -1;
    },
    add(text, hash) {
      const first = starts[count];
      if (count === most.strings || first + text.length > most.characters) return false;
      let slot = slotOf(hash);
      while (slots[2 * slot] !== 0) slot = (slot + 1) & mask;
      for (let i = 0; i < text.length; i++) characters[first + i] = text.charCodeAt(i);
      slots[2 * slot] = ++count;
      slots[2 * slot + 1] = hash;
      starts[count] = first + text.length;
      return true;
    },
    clear() {
      count = 0;
      slots.fill(0);
    },
  };
}

/** A table of strings that are all different, numbered in their order. */
export function tableOf(strings: Iterable<string>): StringTable {
  const list = [...strings];
  const table = makeStringTable({
    strings: list.length,
    characters: list.reduce((sum, { length }) => sum + length, 0),
  });
  for (const string of list) table.add(string, hashOf(string));
  return table;
}
