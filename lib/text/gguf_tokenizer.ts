/**
 * Rebuilds a Hugging Face tokenizer.json object from the `tokenizer.ggml.*` keys of a GGUF file.
 *
 * Two kinds: byte-level BPE (`gpt2`, with the cutting rule named by `tokenizer.ggml.pre`) and SentencePiece (`llama`),
 * whose scores are turned into BPE merges as Hugging Face's own converter does. WordPiece, Unigram (`t5`) and RWKV files
 * are refused. Assumes nothing about the metadata: every key is checked, since the file may come from anywhere.
 */
import { nearest, UserError } from "../errors.ts";
import { type BpeVocabulary, type Merge, mergeIds } from "./bpe_merges.ts";
import { type PreTokenizer, preTokenizers } from "./pre_tokenizers.ts";
import { mergesFromScores } from "./spm_merges.ts";
import type { TokenizerParts } from "./tokenizer_json.ts";

/** Values of `tokenizer.ggml.token_type`. */
export const tokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** The content of a tokenizer.json, as @huggingface/tokenizers takes it, and what a tokenizer needs besides. */
export interface RebuiltTokenizer extends TokenizerParts {
  /** Piece of every id, as the file stores it. */
  tokens: string[];
  /** Ids whose text is not text but a mark: control and unknown tokens. */
  specialIds: Set<number>;
  bosId: number | null;
  /** The file's own end first, then every other token that ends a turn or a text. */
  eosIds: number[];
  addBos: boolean;
  chatTemplate: string | null;
}

/** Control tokens that end a turn or a text in the families known, whatever the file names as its one EOS. */
export const endOfTurnTokens = [
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end_of_text|>",
  "<|endoftext|>",
  "<end_of_turn>",
  "<|end|>",
];

/** Errors: UserError naming the key when the tokenizer is missing, of an unknown kind, or contradicts itself. */
export function rebuildTokenizer(metadata: Map<string, unknown>, source: string): RebuiltTokenizer {
  const model = metadata.get("tokenizer.ggml.model");
  const tokens = metadata.get("tokenizer.ggml.tokens");
  if (model === undefined || tokens === undefined) {
    throw new UserError(
      `${source}: no tokenizer in the file (tokenizer.ggml.${model === undefined ? "model" : "tokens"} is missing)`,
      {
        hint: "Use a GGUF file made with its vocabulary, or the model's Hugging Face folder with tokenizer.json.",
      },
    );
  }
  if (model !== "gpt2" && model !== "llama") {
    throw new UserError(`${source}: tokenizer.ggml.model is "${model}"; known are "gpt2" and "llama"`, {
      hint: "Use the model's Hugging Face folder with tokenizer.json instead.",
    });
  }
  if (!Array.isArray(tokens) || tokens.length === 0 || !tokens.every((token) => typeof token === "string")) {
    throw new UserError(`${source}: tokenizer.ggml.tokens is not a list of strings`, { hint: damagedHint });
  }
  const types = numbers(metadata, "tokenizer.ggml.token_type", tokens.length, source);
  const specialIds = new Set<number>();
  const added: Record<string, unknown>[] = [];
  for (let id = 0; id < tokens.length; id++) {
    const type = types?.[id] ?? tokenType.normal;
    const special = type === tokenType.control || type === tokenType.unknown;
    if (special) specialIds.add(id);
    if ((special || type === tokenType.userDefined) && tokens[id] !== "") {
      added.push({
        id,
        content: tokens[id],
        special,
        normalized: false,
        single_word: false,
        lstrip: false,
        rstrip: false,
      });
    }
  }
  const parts = model === "gpt2"
    ? byteLevelParts(metadata, tokens, source)
    : sentencePieceParts(metadata, { tokens, types, source });
  const bosId = idAt(metadata, "tokenizer.ggml.bos_token_id", tokens.length, source);
  const json = { version: "1.0", added_tokens: added, post_processor: null, ...parts.json };
  return {
    json,
    vocabulary: parts.vocabulary,
    whole: () => ({ ...json, model: { ...json.model, vocab: vocabularyObject(tokens), merges: parts.merges() } }),
    tokens,
    specialIds,
    bosId,
    eosIds: endIds(metadata, tokens, specialIds, source),
    addBos: bosId !== null && flag(metadata, "tokenizer.ggml.add_bos_token", parts.addBos),
    chatTemplate: text(metadata, "tokenizer.chat_template"),
  };
}

const damagedHint = "The file is damaged or not a model; fetch it again.";

interface Parts {
  json: { model: { type: "BPE" } & Record<string, unknown> } & Record<string, unknown>;
  vocabulary: BpeVocabulary | null;
  merges: () => Merge[];
  addBos: boolean;
}

/** Byte-level BPE: pieces are bytes spelt as printable characters, merges are listed in the file. */
function byteLevelParts(metadata: Map<string, unknown>, tokens: string[], source: string): Parts {
  const merges = metadata.get("tokenizer.ggml.merges");
  if (!Array.isArray(merges) || !merges.every((merge) => typeof merge === "string")) {
    throw new UserError(`${source}: tokenizer.ggml.merges is missing or not a list of strings`, { hint: damagedHint });
  }
  const rule = ruleNamed(metadata.get("tokenizer.ggml.pre"), source);
  const splits = rule.regexes.map((Regex) => ({
    type: "Split",
    pattern: { Regex },
    behavior: "Isolated",
    invert: false,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  return {
    json: {
      normalizer: normalizers([rule.nfc && { type: "NFC" }]),
      pre_tokenizer: { type: "Sequence", pretokenizers: [...splits, byteLevel] },
      decoder: byteLevel,
      model: { type: "BPE", ignore_merges: rule.ignoreMerges ?? false },
    },
    vocabulary: vocabularyOf(tokens, (ids) => mergeIds(merges, ids)),
    merges: () => merges,
    addBos: rule.addBos ?? false,
  };
}

function ruleNamed(name: unknown, source: string): PreTokenizer {
  if (name === undefined) return preTokenizers["default"];
  const rule = typeof name === "string" && Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
  if (rule) return rule;
  const guess = typeof name === "string" ? nearest(name, Object.keys(preTokenizers)) : undefined;
  const shown = typeof name === "string" ? JSON.stringify(name) : `of type ${typeof name}`;
  throw new UserError(`${source}: unknown pre-tokenizer ${shown} (tokenizer.ggml.pre)`, {
    hint: `Use the model's Hugging Face folder with tokenizer.json instead${
      guess ? ` (nearest known name: ${guess})` : ""
    }.`,
  });
}

/** SentencePiece BPE: spaces become U+2581, unknown characters become byte tokens <0x00>..<0xFF>. */
function sentencePieceParts(
  metadata: Map<string, unknown>,
  options: { tokens: string[]; types: ArrayLike<number> | null; source: string },
): Parts {
  const { tokens, types, source } = options;
  const scores = numbers(metadata, "tokenizer.ggml.scores", tokens.length, source);
  if (!scores) throw new UserError(`${source}: tokenizer.ggml.scores is missing`, { hint: damagedHint });
  const mergeable = (id: number) => types === null || types[id] === tokenType.normal;
  const unknownId = idAt(metadata, "tokenizer.ggml.unknown_token_id", tokens.length, source);
  const prefix = flag(metadata, "tokenizer.ggml.add_space_prefix", true);
  const merges = mergesFromScores(tokens, { scores, mergeable });
  const mergeList = () =>
    Array.from({ length: merges.length / 3 }, (_, i): Merge => [tokens[merges[3 * i]], tokens[merges[3 * i + 1]]]);
  return {
    // Of equal pieces the vocabulary has the first, the merges those that may merge.
    vocabulary: vocabularyOf(tokens, (ids) => ids.size === tokens.length ? merges : mergeIds(mergeList(), ids)),
    merges: mergeList,
    json: {
      normalizer: normalizers([
        prefix && { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ]),
      pre_tokenizer: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: "BPE",
        byte_fallback: true,
        fuse_unk: true,
        unk_token: unknownId === null ? null : tokens[unknownId],
      },
    },
    addBos: true,
  };
}

/** Of equal pieces the first counts. */
function vocabularyOf(
  tokens: string[],
  mergesOf: (ids: Map<string, number>) => Int32Array | null,
): BpeVocabulary | null {
  const ids = new Map<string, number>();
  for (let id = tokens.length - 1; id >= 0; id--) ids.set(tokens[id], id);
  const merges = mergesOf(ids);
  return merges && { ids, merges };
}

/** The same as a tokenizer.json has it. Without a prototype, so that a piece named `__proto__` is one. */
function vocabularyObject(tokens: string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  for (let id = tokens.length - 1; id >= 0; id--) vocab[tokens[id]] = id;
  return vocab;
}

function normalizers(list: (object | false | undefined)[]): object | null {
  const used = list.filter(Boolean) as object[];
  return used.length === 0 ? null : { type: "Sequence", normalizers: used };
}

function endIds(metadata: Map<string, unknown>, tokens: string[], specialIds: Set<number>, source: string): number[] {
  const ids = new Set<number>();
  for (const key of ["eos_token_id", "eot_token_id", "eom_token_id"]) {
    const id = idAt(metadata, `tokenizer.ggml.${key}`, tokens.length, source);
    if (id !== null) ids.add(id);
  }
  for (const id of specialIds) if (endOfTurnTokens.includes(tokens[id])) ids.add(id);
  return [...ids];
}

function numbers(
  metadata: Map<string, unknown>,
  key: string,
  length: number,
  source: string,
): ArrayLike<number> | null {
  const value = metadata.get(key);
  if (value === undefined) return null;
  const list = value as ArrayLike<number>;
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isList || (list.length > 0 && typeof list[0] !== "number")) {
    throw new UserError(`${source}: ${key} is not a list of numbers`, { hint: damagedHint });
  }
  if (list.length !== length) {
    throw new UserError(`${source}: ${key} has ${list.length} entries, tokenizer.ggml.tokens has ${length}`, {
      hint: damagedHint,
    });
  }
  return list;
}

function idAt(metadata: Map<string, unknown>, key: string, length: number, source: string): number | null {
  const value = metadata.get(key);
  if (value === undefined) return null;
  const id = Number(value);
  if (!(Number.isInteger(id) && id >= 0 && id < length)) {
    throw new UserError(`${source}: ${key} is ${value}, the vocabulary has ${length} tokens`, { hint: damagedHint });
  }
  return id;
}

function flag(metadata: Map<string, unknown>, key: string, otherwise: boolean): boolean {
  const value = metadata.get(key);
  return typeof value === "boolean" ? value : otherwise;
}

function text(metadata: Map<string, unknown>, key: string): string | null {
  const value = metadata.get(key);
  return typeof value === "string" && value !== "" ? value : null;
}
