/**
 * Remembers the ids of words, since texts repeat theirs: finding a word again takes a small part of encoding it.
 *
 * A text is read once, character by character: cut where it may be cut, each word looked up by its characters. Nothing is
 * allocated for a word that is known.
 */
import { hashOn, makeStringTable, unitReader } from "./string_table.ts";

/** Appends the ids of a text. */
export type AddIds = (text: string, ids: number[]) => void;

export type CutsBefore = (units: Uint16Array, at: number) => boolean;

/** Words longer than this are not worth remembering. When one of these is full, remembering starts anew. */
const longest = 64, most = { strings: 1 << 17, characters: 1 << 20 }, mostIds = 1 << 19;

/**
 * `encode` with a memory. `cutsBefore(units, at)` says whether a text may be cut before its UTF-16 unit at `at` > 0, a 0
 * standing behind its last: whether the ids of the parts in a row are those of the whole.
 */
export function rememberWords(
  encode: (word: string) => number[],
  cutsBefore: CutsBefore,
): AddIds {
  const unitsOf = unitReader(), words = makeStringTable(most);
  /** A word's ids end where those of the next begin. */
  const idStarts = new Int32Array(most.strings + 1), knownIds = new Int32Array(mostIds);
  const learn = (encoded: number[], codes: Uint16Array, [start, end, hash]: [number, number, number]) => {
    const first = idStarts[words.size];
    if (first + encoded.length > mostIds || !words.add(codes, start, end, hash)) return words.clear();
    knownIds.set(encoded, first);
    idStarts[words.size] = first + encoded.length;
  };
  return (text, ids) => {
    const codes = unitsOf(text), { length } = text;
    let start = 0, hash = 0;
    for (let at = 0; at < length;) {
      hash = hashOn(hash, codes[at++]);
      if (at < length && !cutsBefore(codes, at)) continue;
      const number = words.find(codes, start, at, hash);
      if (number >= 0) { for (let i = idStarts[number]; i < idStarts[number + 1]; i++) ids.push(knownIds[i]); }
      else {
        const encoded = encode(text.slice(start, at));
        for (const id of encoded) ids.push(id);
        if (at - start <= longest) learn(encoded, codes, [start, at, hash]);
      }
      start = at;
      hash = 0;
    }
  };
}

/**
 * Where the cutting rules of byte-level vocabularies cut as well: before a single space between two visible characters, behind
 * a single newline between such and a letter or digit, and between a letter or digit and the comma, full stop or the like
 * behind it. Null when `wordsOf`, which cuts a text by the rule, does not: that is tried out on pairs of all kinds of
 * characters, not read from the rule.
 */
export function spacesOf(wordsOf: (text: string) => string[]): CutsBefore | null {
  const unitsOf = unitReader(), sides = [...beginnings, ...beginnings.map((text) => ` ${text}`)];
  const same = ends.every((end) =>
    sides.every((side) =>
      !isCut(unitsOf(end + side), end.length) ||
      wordsOf(end + side).join("\0") === [...wordsOf(end), ...wordsOf(side)].join("\0")
    )
  );
  return same ? isCut : null;
}

/** Ends and beginnings of words, one of each kind that cutting rules tell apart. */
const ends = "a Z 7 ٣ . ' _ < é 中 한 ا कि \u0301 \u200b 😀 it's 42".split(" ").concat("a\n.", "a\n", "7\n", ".\n");
const beginnings = "a Z 7 ٣ 's 'RE _ <| é 中 한 ا \u0301 \u200b 😀 New . , ! ...".split(" ").concat(".\n", ".'");

function isCut(units: Uint16Array, at: number): boolean {
  const code = units[at], before = units[at - 1];
  if (code === 0x20) return isVisible(before) && isVisible(units[at + 1]);
  if (before === 0x0a) return isLetterOrDigit(code) && at > 1 && isVisible(units[at - 2]);
  return isPunctuation(code) && isLetterOrDigit(before);
}

/** , . : ; ! ? */
function isPunctuation(code: number): boolean {
  return code === 0x2c || code === 0x2e || code === 0x3a || code === 0x3b || code === 0x21 || code === 0x3f;
}

/** Of ASCII. */
function isLetterOrDigit(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a) || (code >= 0x30 && code <= 0x39);
}

/** Whether a UTF-16 unit is neither a space to any cutting rule nor a control character. */
function isVisible(code: number): boolean {
  if (code < 0x7f) return code > 0x20;
  if (code < 0x1680) return code > 0xa0;
  return code !== 0x1680 && !(code >= 0x2000 && code < 0x200b) && !(code >= 0x2028 && code < 0x2030) &&
    code !== 0x205f && code !== 0x3000 && code !== 0xfeff;
}

/**
 * SentencePiece vocabularies have no rule for words: the whole text is one, with "▁" for spaces. It falls into words all
 * the same before each "▁" that no merge joins to the character before it. `merges`: as ids (bpe_merges.ts); `pieces` by
 * id.
 */
export function spacesUnjoined(merges: Int32Array, pieces: string[]): CutsBefore {
  const joining = new Set<number>();
  for (let i = 0; i < merges.length; i += 3) {
    if (pieces[merges[i + 1]].charCodeAt(0) !== 0x2581) continue;
    const left = pieces[merges[i]];
    joining.add(left.charCodeAt(left.length - 1));
  }
  return (units, at) => units[at] === 0x2581 && !joining.has(units[at - 1]);
}
