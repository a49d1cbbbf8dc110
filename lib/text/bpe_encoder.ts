/**
 * Text to ids with a byte-pair vocabulary: the ids of @huggingface/tokenizers, many times sooner.
 *
 * The steps are the library's: marks such as `<|im_end|>` are cut out, what stands between them is normalised and cut into
 * words, words are merged. Its normaliser and its expressions do their part here as well. Ours is that nothing but words is
 * made on the way, that the ids of a word are remembered, since texts repeat their words, and that merging is done on ids.
 */
import type { Tokenizer as Library } from "@huggingface/tokenizers";
import { type BpeVocabulary, makeMerges, type Merges } from "./bpe_merges.ts";
import { encodeBetween, makeMarks } from "./marks.ts";
import { standIns } from "./token_bytes.ts";
import { makeWordCutter, type WordCutter } from "./word_cutter.ts";
import { type CutsBefore, rememberWords, spacesOf, spacesUnjoined } from "./word_memo.ts";

export type Encode = (text: string) => number[];

/** What counts here of a tokenizer.json. */
interface BpeJson {
  model?: BpeModel;
  added_tokens?: { id: number; content: string }[];
}

interface BpeModel {
  type: string;
  ignore_merges?: boolean;
  byte_fallback?: boolean;
  fuse_unk?: boolean;
  unk_token?: string | null;
  end_of_word_suffix?: string | null;
  continuing_subword_suffix?: string | null;
}

/**
 * The encoder of a tokenizer.json, and the library's object for everything else, which `build` makes. Pieces and merges are
 * those of `vocabulary`, whose map becomes the library's, and not those of `json`. Null where something in the file is not
 * understood here; then the library encodes.
 */
export function bpeEncoder(
  json: Record<string, unknown>,
  { build, vocabulary }: { build: (json: Record<string, unknown>) => Library; vocabulary: BpeVocabulary },
): { library: Library; encode: Encode } | null {
  const { model, added_tokens = [] } = json as BpeJson, { ids } = vocabulary;
  if (model?.type !== "BPE" || model.end_of_word_suffix || model.continuing_subword_suffix) return null;
  const merges = withMarks(vocabulary, added_tokens);
  const unknown = model.unk_token ?? undefined, unknownId = unknown === undefined ? undefined : ids.get(unknown);
  if (unknown !== undefined && unknownId === undefined) return null;
  const library = build({ ...json, model: { ...model, vocab: {}, merges: [] } });
  giveVocabulary(library, { ids, unknownId });
  if (unknown !== undefined && ids.get(unknown) !== unknownId) return null;
  if (!idsStandForPieces(library)) return null;
  const marks = makeMarks(library, added_tokens);
  const cutter = makeWordCutter(library.pre_tokenizer), { bytes } = cutter;
  if (marks === null || (bytes && model.byte_fallback)) return null;
  const encodeWord = wordEncoder(library, { ...model, joined: makeMerges(merges), bytes, unknownId });
  // A word that is a piece is taken whole by some, and so must not be cut.
  const cutsWithin = bytes || model.ignore_merges ? () => false : spacesUnjoined(merges, library.model!.vocab);
  const addWords = wordsOf(cutter, encodeWord, cutsWithin);
  const fused = model.fuse_unk ? unknownId : undefined;
  const encodeText = (text: string, section: number, ids: number[]) => {
    const first = ids.length;
    addWords(text, section, ids);
    if (fused !== undefined && ids.includes(fused, first)) {
      let kept = first;
      for (let i = first; i < ids.length; i++) {
        if (ids[i] !== fused || i === first || ids[i - 1] !== fused) ids[kept++] = ids[i];
      }
      ids.length = kept;
    }
  };
  return { library, encode: (text) => encodeBetween(marks, text, encodeText) };
}

/** The merges, where a mark that is a piece too has the mark's id. */
function withMarks({ ids, merges }: BpeVocabulary, marks: { id: number; content: string }[]): Int32Array {
  const moved = new Map<number, number>();
  for (const { content, id } of marks) {
    const old = ids.get(content) ?? id;
    if (old !== id) moved.set(old, id);
  }
  return moved.size === 0 ? merges : merges.map((id) => moved.get(id) ?? id);
}

/** As if the library had been made with it: where they contradict pieces the marks count, which it has already. */
function giveVocabulary(
  { model }: Library,
  { ids, unknownId }: { ids: Map<string, number>; unknownId: number | undefined },
): void {
  const marks = model!.tokens_to_ids, pieces = new Array<string>(ids.size);
  for (const [piece, id] of ids) pieces[id] = piece;
  for (const [mark, id] of marks) {
    pieces[id] = mark;
    ids.set(mark, id);
  }
  Object.assign(model!, { tokens_to_ids: ids, vocab: pieces, unk_token_id: unknownId });
}

/** Whether every piece has an id of its own. */
function idsStandForPieces({ model }: Library): boolean {
  for (const [piece, id] of model!.tokens_to_ids) {
    if (!(Number.isInteger(id) && id >= 0 && id < 2 ** 31) || model!.vocab[id] !== piece) return false;
  }
  return true;
}

/**
 * Appends the ids of a normalised text, word by word. Where the cutting rule cuts at spaces it is asked only about words
 * that are new; otherwise it cuts first, and then there may be words within.
 */
function wordsOf(
  cutter: WordCutter,
  encodeWord: Encode,
  cutsWithin: CutsBefore,
): (text: string, section: number, ids: number[]) => void {
  const cuts = cutter.bytes ? spacesOf((text) => wordsIn(cutter, text)) : null;
  if (cuts !== null) {
    const addIds = rememberWords((text) => wordsIn(cutter, text).flatMap(encodeWord), cuts);
    return (text, _, ids) => addIds(text, ids);
  }
  const addIds = rememberWords(encodeWord, cutsWithin);
  return (text, section, ids) => cutter.cut(text, section, (word) => addIds(word, ids));
}

function wordsIn(cutter: WordCutter, text: string): string[] {
  const words: string[] = [];
  cutter.cut(text, 0, (word) => words.push(word));
  return words;
}

interface WordEncoding extends Pick<BpeModel, "ignore_merges" | "byte_fallback"> {
  joined: Merges;
  /** Whether words are spelt in bytes. */
  bytes: boolean;
  unknownId: number | undefined;
}

/** Ids of a word, by merging. A symbol without an id is -1 - its code point, or -1 - its byte, until merging is done. */
function wordEncoder(library: Library, options: WordEncoding): Encode {
  const { joined, bytes, unknownId, ignore_merges, byte_fallback } = options;
  const idOf = (piece: string) => library.token_to_id(piece), utf8 = new TextEncoder();
  const byteSymbols = standIns.map((character, byte) => idOf(character) ?? -1 - byte);
  const fallbackIds = standIns.map((_, byte) => idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`));
  const bytesOf = (word: string) => {
    const codes = new Array<number>(word.length);
    for (let i = 0; i < word.length; i++) {
      codes[i] = word.charCodeAt(i);
      if (codes[i] > 0x7f) return Array.from(utf8.encode(word));
    }
    return codes;
  };
  const without = (codePoint: number): number[] => {
    const ids = byte_fallback
      ? Array.from(utf8.encode(String.fromCodePoint(codePoint)), (byte) => fallbackIds[byte])
      : [undefined];
    if (!ids.includes(undefined)) return ids as number[];
    return unknownId === undefined ? [] : [unknownId];
  };
  return (word) => {
    const spelt = bytes ? bytesOf(word) : null;
    if (ignore_merges) {
      const id = idOf(spelt ? spelt.map((byte) => standIns[byte]).join("") : word);
      if (id !== undefined) return [id];
    }
    const symbols = spelt
      ? spelt.map((byte) => byteSymbols[byte])
      : Array.from(word, (character) => idOf(character) ?? -1 - character.codePointAt(0)!);
    joined.join(symbols);
    return symbols.some((id) => id < 0) ? symbols.flatMap((id) => id < 0 ? without(-1 - id) : id) : symbols;
  };
}
