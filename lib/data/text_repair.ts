/**
 * Finds and mends damage in one text: marks that nobody sees, line ends, and UTF-8 that was read as Windows-1252.
 *
 * Only damage that leaves no doubt is mended; text that lost characters (U+FFFD, half a surrogate pair) is reported as
 * lost. Characters that scripts need (zero-width joiners, direction marks) stay.
 */

/** The text after mending, and what was done, one phrase each; `lost` says why the text cannot be mended. */
export interface Repair {
  text: string;
  done: { what: string; action: string }[];
  lost?: string;
}

// deno-lint-ignore no-control-regex
const controls = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
/** Zero-width space, word joiner, byte order mark, interlinear annotation. Joiners U+200C and U+200D have a meaning. */
const invisible = /[\u200b\u2060\ufeff\ufff9-\ufffb]/g;

export function repairText(text: string): Repair {
  const done: Repair["done"] = [];
  const step = (next: string, what: string, action: string) => {
    if (next !== text) done.push({ what, action });
    text = next;
  };
  if (/[^\t\n\x20-\x7e]/.test(text)) {
    if (text.includes("\ufffd")) {
      return { text, done, lost: "replacement characters (U+FFFD): letters were lost, or the file is not UTF-8" };
    }
    if (!text.isWellFormed()) return { text, done, lost: "half a surrogate pair: the text lost letters" };
    step(text.replace(/\r\n?/g, "\n"), "carriage returns", "replaced by newlines");
    const mended = mendMojibake(text);
    step(mended.text, `UTF-8 read as Windows-1252 (${mended.example})`, "mended");
    step(text.replace(controls, ""), "control characters", "removed");
    step(text.replace(invisible, ""), "invisible characters", "removed");
  }
  return { text, done };
}

/** Windows-1252's characters for the bytes 0x80..0x9f; the five bytes it leaves open stand for themselves. */
const cp1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";
const continuation = `[${cp1252}\u00a0-\u00bf]`;
/** Punctuation that legitimately follows an accented letter, as in `fatigué…”`. */
const typographic = /^[…“”„‚‘’‹›–—•«»°´·¡¿\u00a0]*$/;

/** Two bytes after Â or Ã (Latin-1), three bytes, and runs of other pairs (Greek, Cyrillic, ...). */
const damaged = new RegExp(
  [
    `(?<!\\p{Lu})[ÂÃ]${continuation}`,
    `[à-ï]${continuation}{2}`,
    `[ð-ô]${continuation}{3}`,
    `(?:[Ä-ß]${continuation}){3,}`,
  ].join("|"),
  "gu",
);

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Undoes "é" -> "Ã©". A match that is not UTF-8 when its bytes are restored, or may be plain text, stays as it is. */
export function mendMojibake(text: string): { text: string; example: string } {
  let example = "";
  const mended = text.replace(damaged, (match) => {
    if (match.length > 2 && typographic.test(match.slice(1))) return match;
    try {
      const letters = utf8.decode(Uint8Array.from(match, byteOf));
      example ||= `${match} for ${letters}`;
      return letters;
    } catch {
      return match;
    }
  });
  return { text: mended, example };
}

function byteOf(character: string): number {
  const at = cp1252.indexOf(character);
  return at < 0 ? character.charCodeAt(0) : 0x80 + at;
}
