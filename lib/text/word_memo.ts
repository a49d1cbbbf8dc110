/**
 * Remembers the ids of words, since texts repeat theirs: many times faster than asking the library for every text whole.
 *
 * A text is cut before each single space between two visible characters, and between a letter and the comma, full stop or the
 * like behind it. Byte-level vocabularies cut there themselves, so that the ids of the pieces in a row are those of the text;
 * vocabularies that merge across spaces do not. Which kind a tokenizer is, is tried out on pairs of all kinds of
 * characters, not read from its file.
 */

export type Encode = (text: string) => number[];

/** Pieces longer than this are not worth remembering, and so many are remembered before any is forgotten. */
const longest = 64, most = 100_000;

/**
 * `encode` with a memory where texts may be cut, else `encode` itself. `forget` empties a memory that `encode` has of its
 * own; it is called now and then.
 */
export function rememberWords(encode: Encode, forget = () => {}): Encode {
  if (!cutsWithoutTrace(encode)) return encode;
  // Two generations: what the full younger one did not ask for again is forgotten.
  let young = new Map<string, number[]>(), old = young;
  let asked = 0;
  const idsOf = (piece: string) => {
    let ids = young.get(piece);
    if (ids !== undefined) return ids;
    if (++asked % 4096 === 0) forget();
    ids = old.get(piece) ?? encode(piece);
    if (young.size >= most) [young, old] = [new Map(), young];
    // A copy, since V8's piece of a long text would keep the whole of it in memory.
    if (piece.length <= longest) young.set(JSON.parse(JSON.stringify(piece)), ids);
    return ids;
  };
  return (text) => {
    const ids: number[] = [];
    let start = 0;
    for (let at = 1; at < text.length; at++) {
      if (!mayCut(text, at)) continue;
      for (const id of idsOf(text.slice(start, at))) ids.push(id);
      start = at;
    }
    for (const id of idsOf(text.slice(start))) ids.push(id);
    return ids;
  };
}

/** Whether a text may be cut before the character at `at`. */
function mayCut(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  if (code > 0x3f) return false;
  const before = text.charCodeAt(at - 1);
  if (code === 0x20) return isVisible(before) && isVisible(text.charCodeAt(at + 1));
  return isLetter(before) && ",.;:!?".includes(text[at]);
}

/** Whether a text that holds this mark of the vocabulary, `<|im_end|>` or the like, would be cut inside it. */
export function isCut(mark: string): boolean {
  return mark.includes(" ") || Array.from(mark, (_, at) => at > 0 && mayCut(mark, at)).includes(true);
}

function isLetter(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

/** Letters, digits and marks of ASCII, letters of Latin, Greek and Cyrillic, Chinese characters: nothing that is a space. */
function isVisible(code: number): boolean {
  return (code > 0x20 && code < 0x7f) || (code >= 0xc0 && code < 0x590) || (code >= 0x4e00 && code < 0xa000);
}

/** Ends and beginnings of pieces, one of each kind that cutting rules tell apart. */
const ends = ["a", "Z", "7", ".", "'", "_", "<", "é", "中", "\u0301", "it's", "42", "a\n."];
const beginnings = ["a", "Z", "7", "'s", "'RE", "_", "<|", "é", "中", "New", ".", ",", "!", "...", ".\n", ".'"];

function cutsWithoutTrace(encode: Encode): boolean {
  const sides = [...beginnings, ...beginnings.map((text) => ` ${text}`)].map((text) => ({ text, ids: encode(text) }));
  return ends.every((end) => {
    const before = encode(end);
    return sides.every(({ text, ids }) => {
      if (!mayCut(end + text, end.length)) return true;
      const whole = encode(end + text);
      return whole.length === before.length + ids.length && [...before, ...ids].every((id, i) => id === whole[i]);
    });
  });
}
