/**
 * Remembers the ids of words, since texts repeat theirs: finding a word again takes tens of nanoseconds, encoding it a
 * hundred times that.
 *
 * A text is read once, character by character: cut where it may be cut, each word looked up by its characters. Nothing is
 * allocated for a word that is known.
 */
import { hashOn, makeStringTable } from "./string_table.ts";

/** Appends the ids of a text. */
export type AddIds = (text: string, ids: number[]) => void;

/** Words longer than this are not worth remembering. When one of these is full, remembering starts anew. */
const longest = 64, most = { strings: 1 << 17, characters: 1 << 20 }, mostIds = 1 << 19;

/**
 * `encode` with a memory. `cutsBefore(text, at)` says whether a text may be cut before its character at `at`: whether the
 * ids of the parts in a row are those of the whole.
 */
export function rememberWords(
  encode: (word: string) => number[],
  cutsBefore: (text: string, at: number) => boolean,
): AddIds {
  const words = makeStringTable(most);
  /** A word's ids end where those of the next begin. */
  const idStarts = new Int32Array(most.strings + 1), knownIds = new Int32Array(mostIds);
  const addWord = (text: string, start: number, end: number, hash: number, ids: number[]) => {
    const number = words.find(text, start, end, hash);
    if (number >= 0) {
      for (let i = idStarts[number]; i < idStarts[number + 1]; i++) ids.push(knownIds[i]);
      return;
    }
    const word = text.slice(start, end), encoded = encode(word);
    for (const id of encoded) ids.push(id);
    if (word.length > longest) return;
    const first = idStarts[words.size];
    if (first + encoded.length > mostIds || !words.add(word, hash)) return words.clear();
    knownIds.set(encoded, first);
    idStarts[words.size] = first + encoded.length;
  };
  return (text, ids) => {
    let start = 0, hash = 0;
    for (let at = 0; at < text.length; at++) {
      if (at > start && cutsBefore(text, at)) {
        addWord(text, start, at, hash, ids);
        start = at;
        hash = 0;
      }
      hash = hashOn(hash, text.charCodeAt(at));
    }
    if (start < text.length) addWord(text, start, text.length, hash, ids);
  };
}

/**
 * Where the cutting rules of byte-level vocabularies cut as well: before a single space between two visible characters, behind
 * a single newline between such and a letter or digit, and between a letter or digit and the comma, full stop or the like
 * behind it. Null when `wordsOf`, which cuts a text by the rule, does not: that is tried out on pairs of all kinds of
 * characters, not read from the rule.
 */
export function spacesOf(wordsOf: (text: string) => string[]): ((text: string, at: number) => boolean) | null {
  const sides = [...beginnings, ...beginnings.map((text) => ` ${text}`)];
  const same = ends.every((end) =>
    sides.every((side) =>
      !isCut(end + side, end.length) ||
      wordsOf(end + side).join("\0") === [...wordsOf(end), ...wordsOf(side)].join("\0")
    )
  );
  return same ? isCut : null;
}

/** Ends and beginnings of words, one of each kind that cutting rules tell apart. */
const ends = "a Z 7 ٣ . ' _ < é 中 한 ا कि \u0301 \u200b 😀 it's 42".split(" ").concat("a\n.", "a\n", "7\n", ".\n");
const beginnings = "a Z 7 ٣ 's 'RE _ <| é 中 한 ا \u0301 \u200b 😀 New . , ! ...".split(" ").concat(".\n", ".'");

function isCut(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  if (code === 0x20) return isVisible(text.charCodeAt(at - 1)) && isVisible(text.charCodeAt(at + 1));
  const before = text.charCodeAt(at - 1);
  if (before === 0x0a) return isLetterOrDigit(code) && isVisible(text.charCodeAt(at - 2));
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
 * the same before each "▁" that no merge joins to the character before it. `merges`: left and right pieces.
 */
export function spacesUnjoined(merges: Iterable<readonly [string, string]>): (text: string, at: number) => boolean {
  const joining = new Set<number>();
  for (const [left, right] of merges) if (right.startsWith("▁")) joining.add(left.charCodeAt(left.length - 1));
  return (text, at) => text.charCodeAt(at) === 0x2581 && !joining.has(text.charCodeAt(at - 1));
}
