/**
 * Remembers the ids of words, since texts repeat theirs: many times faster than asking the library for every text whole.
 *
 * A text is cut before each single space that stands between two visible characters. Byte-level vocabularies cut there
 * themselves, so that the ids of the pieces in a row are those of the text; vocabularies that merge across spaces do not.
 * Which kind a tokenizer is, is tried out on every pair of kinds of characters, not read from its file.
 */

export type Encode = (text: string) => number[];

/** Pieces longer than this are not worth remembering, and so many are remembered at most. */
const longest = 64, most = 100_000;

/** `encode` with a memory where texts may be cut before spaces, else `encode` itself. */
export function rememberWords(encode: Encode): Encode {
  if (!cutsAtSpaces(encode)) return encode;
  const known = new Map<string, number[]>();
  const idsOf = (piece: string) => {
    let ids = known.get(piece);
    if (ids === undefined) {
      ids = encode(piece);
      if (known.size >= most) known.clear();
      // A copy, since V8's piece of a long text would keep the whole of it in memory.
      if (piece.length <= longest) known.set(JSON.parse(JSON.stringify(piece)), ids);
    }
    return ids;
  };
  return (text) => {
    const ids: number[] = [];
    let start = 0;
    for (let at = text.indexOf(" ", 1); at >= 0; at = text.indexOf(" ", at + 1)) {
      if (!isVisible(text.charCodeAt(at - 1)) || !isVisible(text.charCodeAt(at + 1))) continue;
      for (const id of idsOf(text.slice(start, at))) ids.push(id);
      start = at;
    }
    for (const id of idsOf(text.slice(start))) ids.push(id);
    return ids;
  };
}

/** Letters, digits and marks of ASCII, letters of Latin, Greek and Cyrillic, Chinese characters: nothing that is a space. */
function isVisible(code: number): boolean {
  return (code > 0x20 && code < 0x7f) || (code >= 0xc0 && code < 0x590) || (code >= 0x4e00 && code < 0xa000);
}

/** One of each kind that cutting rules tell apart, alone and behind others. */
const samples = [
  ..."aZ7.'/-_<|>{\"",
  ..."éßЖ中",
  ..."\u0301",
  "'s",
  "it's",
  "42",
  "...",
  "\n\nx",
  "a\n.",
  "a\n\n",
  "New",
  "USA",
];

function cutsAtSpaces(encode: Encode): boolean {
  const same = (left: string, right: string) => {
    const whole = encode(left + right), pieces = [...encode(left), ...encode(right)];
    return whole.length === pieces.length && whole.every((id, i) => id === pieces[i]);
  };
  return samples.filter((left) => isVisible(left.charCodeAt(left.length - 1))).every((left) =>
    samples.filter((right) => isVisible(right.charCodeAt(0))).every((right) => same(left, ` ${right}`))
  );
}
