/**
 * Strings to numbers 0, 1, 2, ...: a hash table in a few typed arrays, several times sooner than a Map. What is looked up
 * is a part of an array of UTF-16 units, so that no string is made of it; reading units out of strings is the slow part.
 */
export interface StringTable {
  readonly size: number;
  /** Number of the string that is [start, end) of `codes`, or -1. `hash` is that of these units. */
  find(codes: Uint16Array, start: number, end: number, hash: number): number;
  /** Adds a string that is not in the table under the next number; false when it is full. */
  add(codes: Uint16Array, start: number, end: number, hash: number): boolean;
  clear(): void;
}

/** The hash of the units seen before, `hash` (0 at first), and one more: FNV-1a without its offset. */
export function hashOn(hash: number, code: number): number {
  return Math.imul(hash ^ code, 0x01000193);
}

export function hashOf(codes: Uint16Array, start: number, end: number): number {
  let hash = 0;
  for (let i = start; i < end; i++) hash = hashOn(hash, codes[i]);
  return hash;
}

/** A function that gives a text's units, and 0 behind the last, in an array that it uses again for the next. */
export function unitReader(): (text: string) => Uint16Array {
  const kept = new Uint16Array(1 << 14);
  return (text) => {
    const codes = text.length < kept.length ? kept : new Uint16Array(text.length + 1);
    for (let i = 0; i < text.length; i++) codes[i] = text.charCodeAt(i);
    codes[text.length] = 0;
    return codes;
  };
}

export function makeStringTable(most: { strings: number; characters: number }): StringTable {
  const bits = Math.ceil(Math.log2(2 * most.strings + 2)), mask = (1 << bits) - 1;
  /** Two integers a slot: 1 + number of the string, 0 for none, and its hash. */
  const slots = new Int32Array(2 << bits);
  /** A string's units end where those of the next begin. */
  const starts = new Int32Array(most.strings + 1), units = new Uint16Array(most.characters);
  let count = 0;
  /** The upper bits of a product, in which all bits of the hash have a part (Knuth, TAOCP 3, 6.4). */
  const slotOf = (hash: number) => Math.imul(hash, 0x9e3779b1) >>> (32 - bits);
  const isAt = (number: number, codes: Uint16Array, start: number, end: number) => {
    const first = starts[number], length = end - start;
    if (starts[number + 1] - first !== length) return false;
    for (let i = 0; i < length; i++) if (units[first + i] !== codes[start + i]) return false;
    return true;
  };
  return {
    get size() {
      return count;
    },
    find(codes, start, end, hash) {
      for (let slot = slotOf(hash); slots[2 * slot] !== 0; slot = (slot + 1) & mask) {
        if (slots[2 * slot + 1] !== hash) continue;
        const number = slots[2 * slot] - 1;
        if (isAt(number, codes, start, end)) return number;
      }
      return -1;
    },
    add(codes, start, end, hash) {
      const first = starts[count];
      if (count === most.strings || first + end - start > most.characters) return false;
      let slot = slotOf(hash);
      while (slots[2 * slot] !== 0) slot = (slot + 1) & mask;
      for (let i = start; i < end; i++) units[first + i - start] = codes[i];
      slots[2 * slot] = ++count;
      slots[2 * slot + 1] = hash;
      starts[count] = first + end - start;
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
  const list = [...strings], unitsOf = unitReader();
  const table = makeStringTable({
    strings: list.length,
    characters: list.reduce((sum, { length }) => sum + length, 0),
  });
  for (const string of list) {
    const codes = unitsOf(string);
    table.add(codes, 0, string.length, hashOf(codes, 0, string.length));
  }
  return table;
}
