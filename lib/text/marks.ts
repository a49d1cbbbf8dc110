/**
 * The marks of a vocabulary, `<|im_end|>` and the like, and the texts between them: as @huggingface/tokenizers does it,
 * marks are looked for first in the text as it is and then, where a mark asks for it, in what normalising left of it.
 */
import { AddedToken, type Tokenizer as Library } from "@huggingface/tokenizers";

export interface Marks {
  /** By content, and by normalised content where that is looked for. */
  tokens: Map<string, AddedToken>;
  cutRaw: (text: string) => string[];
  cutNormalised: (text: string) => string[];
  normalise: (text: string) => string;
  /** Whether a mark takes in the spaces beside it. */
  strip: boolean;
}

/** `added`: the added_tokens of the tokenizer.json. Null where a mark has the content of a piece with another id. */
export function makeMarks(library: Library, added: ConstructorParameters<typeof AddedToken>[0][]): Marks | null {
  const { normalizer } = library, tokens: Marks["tokens"] = new Map(), raw: string[] = [], normalised: string[] = [];
  for (const config of added) {
    const token = new AddedToken(config),
      { content } = token,
      looksNormalised = token.normalized && normalizer !== null;
    const sought = looksNormalised ? normalizer.normalize(content) : content;
    (looksNormalised ? normalised : raw).push(sought);
    for (const text of [content, sought]) {
      const id = library.token_to_id(text);
      if (id !== undefined && id !== token.id) return null;
      tokens.set(text, token);
    }
  }
  return {
    tokens,
    cutRaw: makeMarkCutter(raw),
    cutNormalised: makeMarkCutter(normalised),
    normalise: (text) => normalizer === null ? text : normalizer.normalize(text),
    strip: [...tokens.values()].some(({ lstrip, rstrip }) => lstrip || rstrip),
  };
}

/** Ids of a text: those of its marks, and what `encodeText` adds for each normalised text between, in section `section`. */
export function encodeBetween(
  marks: Marks,
  text: string,
  encodeText: (text: string, section: number, ids: number[]) => void,
): number[] {
  const ids: number[] = [];
  const { tokens, cutRaw, cutNormalised, normalise } = marks;
  stripped(cutRaw(text), marks).forEach((part, section) => {
    const mark = tokens.get(part);
    if (mark !== undefined) return void ids.push(mark.id);
    if (part === "") return;
    for (const inner of stripped(cutNormalised(normalise(part)), marks)) {
      const mark = tokens.get(inner);
      if (mark !== undefined) ids.push(mark.id);
      else if (inner !== "") encodeText(inner, section, ids);
    }
  });
  return ids;
}

/** The parts without the spaces that belong to a mark beside them. */
function stripped(parts: string[], { tokens, strip }: Marks): string[] {
  if (!strip) return parts;
  for (let i = 0; i < parts.length; i++) {
    const mark = tokens.get(parts[i]);
    if (mark?.lstrip && i > 0) parts[i - 1] = parts[i - 1].trimEnd();
    if (mark?.rstrip && i + 1 < parts.length) parts[i + 1] = parts[i + 1].trimStart();
  }
  return parts;
}

/**
 * A function that cuts a text into the marks in it and what lies between, in order, nothing empty. Of marks that begin at
 * the same place the longest counts. Offsets and lengths are in UTF-16 units.
 */
export function makeMarkCutter(marks: string[]): (text: string) => string[] {
  const known = new Set(marks.filter((mark) => mark !== ""));
  if (known.size === 0) return (text) => (text === "" ? [] : [text]);
  /** First character -> lengths of the marks that begin with it, longest first. */
  const lengths = new Map<string, number[]>();
  for (const mark of [...known].sort((a, b) => b.length - a.length)) {
    const list = lengths.get(mark[0]) ?? [];
    if (list.at(-1) !== mark.length) list.push(mark.length);
    lengths.set(mark[0], list);
  }
  const codes = [...lengths.keys()].map((first) => `\\u${first.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const beginning = new RegExp(`[${codes.join("")}]`, "g");
  return (text) => {
    const parts: string[] = [];
    let start = 0;
    beginning.lastIndex = 0;
    while (beginning.test(text)) {
      const at = beginning.lastIndex - 1;
      const length = lengths.get(text[at])!.find((n) => at + n <= text.length && known.has(text.slice(at, at + n)));
      if (length === undefined) continue;
      if (at > start) parts.push(text.slice(start, at));
      parts.push(text.slice(at, at + length));
      beginning.lastIndex = start = at + length;
    }
    if (start < text.length) parts.push(text.slice(start));
    return parts;
  };
}
