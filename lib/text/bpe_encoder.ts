/**
 * Text to ids with a byte-pair vocabulary: the ids of @huggingface/tokenizers, many times sooner.
 *
 * The steps are the library's: marks such as `<|im_end|>` are cut out, what stands between them is normalised and cut into
 * words, words are merged. Its normaliser and its expressions do their part here as well. Ours is that nothing but words is
 * made on the way, that the ids of a word are remembered, since texts repeat their words, and that merging is done on ids.
 */
import {
  ByteLevelPreTokenizer,
  type PreTokenizer,
  SequencePreTokenizer,
  SplitPreTokenizer,
  type Tokenizer as Library,
} from "@huggingface/tokenizers";
import { makeMerges, type Merge, mergePair, type Merges } from "./bpe_merges.ts";
import { encodeBetween, makeMarks } from "./marks.ts";
import { rememberWords, spacesOf, spacesUnjoined } from "./word_memo.ts";

export type Encode = (text: string) => number[];

/** What counts here of a tokenizer.json. */
interface BpeJson {
  model?: BpeModel;
  added_tokens?: { id: number; content: string }[];
}

interface BpeModel {
  type: string;
  merges: Merge[];
  ignore_merges?: boolean;
  byte_fallback?: boolean;
  fuse_unk?: boolean;
  unk_token?: string | null;
  end_of_word_suffix?: string | null;
  continuing_subword_suffix?: string | null;
}

/**
 * The encoder of a tokenizer.json, and the library's object for everything else, which `build` makes: without the merges,
 * whose table takes the library seconds. Null where something in the file is not understood here; then the library encodes.
 */
export function bpeEncoder(
  json: Record<string, unknown>,
  build: (json: Record<string, unknown>) => Library,
): { library: Library; encode: Encode } | null {
  const { model, added_tokens } = json as BpeJson;
  if (model?.type !== "BPE" || !Array.isArray(model.merges)) return null;
  if (model.end_of_word_suffix || model.continuing_subword_suffix) return null;
  const library = build({ ...json, model: { ...model, merges: [] } });
  const unknown = model.unk_token ?? undefined, unknownId = library.model!.unk_token_id;
  if (unknown !== undefined && (unknownId === undefined || unknownId !== library.token_to_id(unknown))) return null;
  if (!idsStandForPieces(library)) return null;
  const merges = makeMerges(model.merges, (piece) => library.token_to_id(piece));
  const marks = makeMarks(library, added_tokens ?? []);
  if (merges === null || marks === null) return null;
  const addWords = wordsOf(library, wordEncoder(library, { ...model, joined: merges, unknownId }), model);
  const fused = model.fuse_unk ? unknownId : undefined;
  const encodeText = (text: string, section: number, ids: number[]) => {
    const first = ids.length;
    addWords(text, section, ids);
    if (fused !== undefined && ids.includes(fused, first)) {
      const fusing = ids.splice(first);
      ids.push(...fusing.filter((id, i) => id !== fused || fusing[i - 1] !== fused));
    }
  };
  return { library, encode: (text) => encodeBetween(marks, text, encodeText) };
}

/** Whether every piece has an id of its own. */
function idsStandForPieces({ model }: Library): boolean {
  for (const [piece, id] of model!.tokens_to_ids) {
    if (!(Number.isInteger(id) && id >= 0 && id < 2 ** 31) || model!.vocab[id] !== piece) return false;
  }
  return true;
}

/**
 * Appends the ids of a normalised text, word by word. Byte-level vocabularies cut texts by expressions, which are asked only
 * about words that are new; of other texts the library's cutting is done first, and then there may be words within.
 */
function wordsOf(
  { pre_tokenizer: cutter }: Library,
  encodeWord: Encode,
  { merges, ignore_merges }: BpeModel,
): (text: string, section: number, ids: number[]) => void {
  const pieces = (text: string, section: number) =>
    cutter === null ? [text] : cutter.pre_tokenize(text, { section_index: section });
  if (endsInBytes(cutter)) {
    const encodePieces = (text: string) => pieces(text, 0).flatMap(encodeWord);
    const cuts = spacesOf(encodePieces);
    if (cuts !== null) {
      const addIds = rememberWords(encodePieces, cuts);
      return (text, _, ids) => addIds(text, ids);
    }
  }
  // A word that is a piece is taken whole by some, and so must not be cut.
  const addIds = rememberWords(encodeWord, ignore_merges ? () => false : spacesUnjoined(merges.map(mergePair)));
  return (text, section, ids) => pieces(text, section).forEach((piece) => addIds(piece, ids));
}

/** Whether words are cut by expressions alone and then spelt in bytes. */
function endsInBytes(step: PreTokenizer | null): boolean {
  if (step instanceof SequencePreTokenizer) {
    return endsInBytes(step.tokenizers.at(-1) ?? null) &&
      step.tokenizers.slice(0, -1).every((inner) => inner instanceof SplitPreTokenizer);
  }
  return step instanceof ByteLevelPreTokenizer && !step.add_prefix_space;
}

/** Ids of a word, by merging. A symbol without an id is -1 - its code point until merging is done. */
function wordEncoder(
  library: Library,
  { joined, unknownId, ignore_merges, byte_fallback }:
    & Pick<BpeModel, "ignore_merges" | "byte_fallback">
    & { joined: Merges; unknownId: number | undefined },
): Encode {
  const idOf = (piece: string) => library.token_to_id(piece), utf8 = new TextEncoder();
  const byteIds = Array.from(
    { length: 256 },
    (_, byte) => idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
  );
  const without = (codePoint: number): number[] => {
    const ids = byte_fallback
      ? Array.from(utf8.encode(String.fromCodePoint(codePoint)), (byte) => byteIds[byte])
      : [undefined];
    if (!ids.includes(undefined)) return ids as number[];
    return unknownId === undefined ? [] : [unknownId];
  };
  return (word) => {
    const whole = ignore_merges ? idOf(word) : undefined;
    if (whole !== undefined) return [whole];
    const symbols = Array.from(word, (character) => idOf(character) ?? -1 - character.codePointAt(0)!);
    joined.join(symbols);
    return symbols.some((id) => id < 0) ? symbols.flatMap((id) => id < 0 ? without(-1 - id) : id) : symbols;
  };
}
