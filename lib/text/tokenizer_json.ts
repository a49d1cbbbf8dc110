/**
 * Reads a tokenizer.json, the two large parts of a byte-pair one straight into tables: half a million merges as Gemma has
 * them are as many small lists to JSON.parse(), and a vocabulary an object that is slow to make and to walk over.
 */
import { parseJson } from "../formats/json_depth.ts";
import { type BpeVocabulary, idsOfPieces } from "./bpe_merges.ts";
import { hashOf, hashOn } from "./string_table.ts";

export type Json = Record<string, unknown>;

export interface TokenizerParts {
  /** The file's content; where there is a `vocabulary`, without model.vocab and model.merges. */
  json: Json;
  /** Null for other models than byte-pair ones, and where something in these parts is not understood here. */
  vocabulary: BpeVocabulary | null;
  /** All of the content. */
  whole: () => Json;
}

/** Errors: as parseObject(). */
export function readTokenizerJson(text: string): TokenizerParts {
  const parts = takeOut(text);
  if (parts !== null) return { ...parts, whole: () => parseObject(text) };
  const json = parseObject(text);
  return { json, vocabulary: null, whole: () => json };
}

/** Errors: SyntaxError for a text that is not JSON, Error for one that is no object. */
export function parseObject(text: string): Json {
  const value = parseJson(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new Error("expected a JSON object");
}

function takeOut(text: string): Omit<TokenizerParts, "whole"> | null {
  const vocabAt = valueOf(text, "vocab", "{"), mergesAt = vocabAt && valueOf(text, "merges", "[");
  const vocab = vocabAt && readVocabulary(text, vocabAt);
  const merges = vocab && mergesAt && readMerges(text, mergesAt, vocab.ids);
  if (!vocab || !merges) return null;
  const spans = [[vocabAt, vocab.end], [mergesAt, merges.end]].sort(([a], [b]) => a - b);
  const [[first, firstEnd], [second, secondEnd]] = spans;
  const json = parseObject(`${text.slice(0, first)}0${text.slice(firstEnd, second)}0${text.slice(secondEnd)}`);
  // Elsewhere in the file these names may mean something else.
  const model = json.model as { type?: unknown; vocab?: unknown; merges?: unknown } | null;
  if (model?.type !== "BPE" || model.vocab !== 0 || model.merges !== 0) return null;
  return { json, vocabulary: { ids: vocab.ids, merges: merges.ids } };
}

/** Where the value of the first key of this name begins, or 0. Inside a string its quotes would stand behind backslashes. */
function valueOf(text: string, name: string, opening: string): number {
  const key = `"${name}"`;
  for (let at = text.indexOf(key); at >= 0; at = text.indexOf(key, at + 1)) {
    const colon = skipSpace(text, at + key.length);
    if (text[at - 1] === "\\" || text[colon] !== ":") continue;
    const value = skipSpace(text, colon + 1);
    return text[value] === opening ? value : 0;
  }
  return 0;
}

/** More than any vocabulary has. */
export const mostIds = 1 << 24;

/** Longest piece, or merge, in UTF-16 units; a file with a longer one is left to JSON.parse(). */
const longest = 1 << 14;
const quote = 0x22, backslash = 0x5c, comma = 0x2c, colon = 0x3a, openList = 0x5b, closeList = 0x5d, closeObject = 0x7d;

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function skipSpace(text: string, at: number): number {
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

// deno-lint-ignore no-control-regex
const jsonString = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){0,16384}"/y;

/**
 * A function that reads the string at a quote into `codes` from `first` on; it returns where the string ends in the text,
 * behind its quote, and sets `count`. 0 for what is no string, or too long a one.
 */
function stringReader(text: string) {
  const codes = new Uint16Array(2 * longest);
  const reader = {
    codes,
    count: 0,
    read(at: number, first: number): number {
      if (text.charCodeAt(at) !== quote) return 0;
      let to = first;
      for (let from = at + 1; to < first + longest; from++) {
        const code = text.charCodeAt(from);
        if (code === quote) {
          reader.count = to - first;
          return from + 1;
        }
        if (code === backslash) return escaped(at, first);
        if (!(code >= 0x20)) return 0; // The end of the text too, which is NaN.
        codes[to++] = code;
      }
      return 0;
    },
  };
  function escaped(at: number, first: number): number {
    jsonString.lastIndex = at;
    if (!jsonString.test(text)) return 0;
    const content: string = JSON.parse(text.slice(at, jsonString.lastIndex));
    for (let i = 0; i < content.length; i++) codes[first + i] = content.charCodeAt(i);
    reader.count = content.length;
    return jsonString.lastIndex;
  }
  return reader;
}

/** The object of pieces and ids that begins at `at`; null where it is not one. */
function readVocabulary(text: string, at: number): { ids: Map<string, number>; end: number } | null {
  const ids = new Map<string, number>(), strings = stringReader(text), { codes } = strings;
  let count = 0;
  for (at = skipSpace(text, at + 1); text.charCodeAt(at) !== closeObject; count++) {
    if (count > 0) {
      if (text.charCodeAt(at) !== comma) return null;
      at = skipSpace(text, at + 1);
    }
    const end = strings.read(at, 0);
    if (end === 0) return null;
    // A longer one is not cut out of the text: V8 would keep all of the text in memory for it.
    const piece = strings.count < 13 && end - at === strings.count + 2
      ? text.slice(at + 1, end - 1)
      : String.fromCharCode(...codes.subarray(0, strings.count));
    at = skipSpace(text, end);
    if (text.charCodeAt(at) !== colon) return null;
    const first = at = skipSpace(text, at + 1);
    let id = 0;
    for (let digit = text.charCodeAt(at) - 0x30; digit >= 0 && digit < 10; digit = text.charCodeAt(++at) - 0x30) {
      id = 10 * id + digit;
    }
    if (at === first || (at > first + 1 && text[first] === "0") || !(id < mostIds)) return null;
    ids.set(piece, id);
    at = skipSpace(text, at);
  }
  // Of a piece that is listed twice the last id counts, but the first is then nobody's.
  return count > 0 && ids.size === count ? { ids, end: at + 1 } : null;
}

function indexOfSpace(codes: Uint16Array, from: number, end: number): number {
  while (from < end && codes[from] !== 0x20) from++;
  return from;
}

/** The list of merges that begins at `at`, in either spelling, as ids; null where it is not one, or a piece has no id. */
function readMerges(
  text: string,
  at: number,
  pieces: ReadonlyMap<string, number>,
): { ids: Int32Array; end: number } | null {
  const idOf = idsOfPieces(pieces), strings = stringReader(text), { codes } = strings, ids: number[] = [];
  for (at = skipSpace(text, at + 1); text.charCodeAt(at) !== closeList;) {
    if (ids.length > 0) {
      if (text.charCodeAt(at) !== comma) return null;
      at = skipSpace(text, at + 1);
    }
    let left: number, length: number;
    if (text.charCodeAt(at) === openList) {
      at = strings.read(skipSpace(text, at + 1), 0);
      if (at === 0) return null;
      left = strings.count;
      at = skipSpace(text, at);
      if (text.charCodeAt(at) !== comma) return null;
      at = strings.read(skipSpace(text, at + 1), left);
      if (at === 0) return null;
      length = left + strings.count;
      at = skipSpace(text, at);
      if (text.charCodeAt(at) !== closeList) return null;
      at++;
    } else {
      at = strings.read(at, 0);
      left = indexOfSpace(codes, 0, strings.count);
      if (at === 0 || left === strings.count) return null;
      // What stands behind a second space does not count.
      length = indexOfSpace(codes, left + 1, strings.count) - 1;
      codes.copyWithin(left, left + 1, length + 1);
    }
    const hash = hashOf(codes, 0, left);
    let whole = hash;
    for (let i = left; i < length; i++) whole = hashOn(whole, codes[i]);
    const a = idOf(codes, 0, left, hash), b = idOf(codes, left, length, hashOf(codes, left, length));
    const both = idOf(codes, 0, length, whole);
    if (a < 0 || b < 0 || both < 0) return null;
    ids.push(a, b, both);
    at = skipSpace(text, at);
  }
  return { ids: Int32Array.from(ids), end: at + 1 };
}
