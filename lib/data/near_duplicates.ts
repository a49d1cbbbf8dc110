/**
 * Finds rows that say nearly what an earlier row says, in a time that grows with the number of rows only.
 *
 * MinHash over runs of three words, letters and digits only, and locality-sensitive hashing in bands (Leskovec, Rajaraman,
 * Ullman: Mining of Massive Datasets, 3.3 and 3.4): of 32 hash functions, the smallest value over a row's runs; equal
 * values are as frequent as the runs that two rows share are among all runs of both. Rows meet where 4 values in a row
 * agree; each meeting place keeps its first row only, so that a row is compared with 8 others at most.
 */

const functions = 32, band = 4;
/** Share of equal values from which rows are called near duplicates; it stands for the share of common runs of words. */
const similar = 0.8;
/** Characters of a row that are looked at. */
const mostCharacters = 1 << 17;

/** Odd factors and summands of the hash functions x -> a x + b, from a fixed Weyl sequence. */
const factors = Uint32Array.from({ length: functions }, (_, i) => Math.imul(i + 1, 0x9e3779b9) | 1);
const summands = Uint32Array.from({ length: functions }, (_, i) => Math.imul(i + 1, 0x85ebca6b));

/** A function that takes the rows' texts one after the other and gives the number of an earlier similar one, from 0. */
export function makeNearDuplicates(): (text: string) => number | undefined {
  const meetings = Array.from({ length: functions / band }, () => new Map<number, number>());
  const signatures = new Map<number, Uint32Array>();
  let count = 0;
  return (text) => {
    const row = count++, signature = signatureOf(text);
    if (!signature) return undefined;
    let found: number | undefined;
    let kept = false;
    meetings.forEach((places, i) => {
      let key = 0;
      for (let j = i * band; j < (i + 1) * band; j++) key = Math.imul(key ^ signature[j], 0x01000193) ^ (key >>> 15);
      const other = places.get(key);
      if (other === undefined) {
        places.set(key, row);
        kept = true;
      } else if (found === undefined && equalShare(signature, signatures.get(other)!) >= similar) {
        found = other;
      }
    });
    if (kept) signatures.set(row, signature);
    return found;
  };
}

/** Undefined for a text of fewer than three words, which says too little to be compared. */
function signatureOf(text: string): Uint32Array | undefined {
  const smallest = new Uint32Array(functions).fill(0xffffffff);
  let a = 0, b = 0, words = 0;
  for (const word of text.slice(0, mostCharacters).toLowerCase().match(wordPattern) ?? []) {
    const c = hashOf(word);
    if (++words >= 3) {
      const run = mix(Math.imul(a, 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35) ^ c);
      for (let i = 0; i < functions; i++) {
        const value = (Math.imul(run, factors[i]) + summands[i]) >>> 0;
        if (value < smallest[i]) smallest[i] = value;
      }
    }
    [a, b] = [b, c];
  }
  return words < 3 ? undefined : smallest;
}

/** Words; where a script writes none, its characters. */
const wordPattern = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}]+/gu;

/** FNV-1a over UTF-16 units. */
function hashOf(word: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
  return mix(hash);
}

/** MurmurHash3's finaliser. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

function equalShare(a: Uint32Array, b: Uint32Array): number {
  let equal = 0;
  for (let i = 0; i < functions; i++) if (a[i] === b[i]) equal++;
  return equal / functions;
}
