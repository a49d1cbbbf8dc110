/**
 * Text to token ids and back, from a tokenizer.json or from the metadata of a GGUF file.
 *
 * The library for it is @huggingface/tokenizers; byte-pair vocabularies encode by bpe_encoder.ts, to the same ids in less
 * time. This module gives both the right object, decides about BOS and EOS, and turns what can go wrong into one clear
 * line. Special tokens written out in the text are always read as such, as Hugging Face's tokenizers do. Not here: chat
 * templates (chat_template.ts), training rows (lib/data).
 */
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { UserError } from "../errors.ts";
import { mayNeverEnd } from "../formats/patterns.ts";
import { bpeEncoder, type Encode } from "./bpe_encoder.ts";
import { endOfTurnTokens, rebuildTokenizer } from "./gguf_tokenizer.ts";
import { spellOut } from "./pre_tokenizers.ts";
import { bytesReader, spellingOf } from "./token_bytes.ts";
import { type Json, mostIds, parseObject, readTokenizerJson, type TokenizerParts } from "./tokenizer_json.ts";

/** A tokenizer. Ids are 0..vocabSize-1. */
export interface Tokenizer {
  /** Number of ids, added tokens included. */
  readonly vocabSize: number;
  readonly bosId: number | null;
  /** The one to append to a text first, then all others that end a turn or a text; may be empty. */
  readonly eosIds: number[];
  /** Whether this model's texts begin with BOS. */
  readonly addBos: boolean;
  /** Ids of `text`. With `addSpecial`, BOS first if the model's texts begin with it, never twice; default: without. */
  encode(text: string, options?: { addSpecial?: boolean }): number[];
  /** Text of the ids; a character cut in the middle becomes U+FFFD. `skipSpecial` leaves special tokens out. */
  decode(ids: Iterable<number>, options?: { skipSpecial?: boolean }): string;
  /** The piece as the vocabulary stores it, for example `Ġthe`; empty for an id without one. */
  tokenText(id: number): string;
  /** The bytes the id stands for, cut characters as they are; a mark's are its name's. */
  bytesOf(id: number): Uint8Array;
  idOf(token: string): number | undefined;
  /** Jinja source of the model's own chat template. */
  readonly chatTemplate: string | null;
  /** Whether the id is a mark such as `<|im_end|>` rather than text. */
  isSpecial(id: number): boolean;
}

/**
 * The tokenizer of a Hugging Face folder. All arguments but `source` are contents of the files of those names.
 * Errors: UserError when a file is not JSON or the tokenizer is of a kind the library does not know.
 */
export function tokenizerFromJson(files: {
  tokenizerJson: string;
  tokenizerConfig?: string;
  chatTemplate?: string;
  generationConfig?: string;
  source: string;
}): Tokenizer {
  const { source } = files;
  return guarded(source, () => buildFromJson(files));
}

function buildFromJson(files: Parameters<typeof tokenizerFromJson>[0]): Tokenizer {
  const { source } = files;
  const parts = readable(`${source}/tokenizer.json`, () => readTokenizerJson(files.tokenizerJson)), { json } = parts;
  checkIds(json);
  for (const key of ["normalizer", "pre_tokenizer", "decoder"]) checkPatterns(json[key], source);
  const beside = (name: string, text = "{}") => readable(`${source}/${name}`, () => parseObject(text));
  const config = beside("tokenizer_config.json", files.tokenizerConfig || undefined);
  const generation = beside("generation_config.json", files.generationConfig || undefined);
  const spelt = (json: Json) => ({ ...json, pre_tokenizer: spellOut(json.pre_tokenizer ?? null) });
  const engine = construct({ ...parts, json: spelt(json), whole: () => spelt(parts.whole()) }), { library } = engine;
  const addedIds = library.get_added_tokens_decoder();
  const specialIds = new Set([...addedIds].filter(([, token]) => token.special).map(([id]) => id));
  const idOfToken = (value: unknown) => {
    const content = typeof value === "object" && value !== null ? (value as { content?: unknown }).content : value;
    return typeof content === "string" ? library.token_to_id(content) : undefined;
  };
  const eosIds = new Set<number>();
  const named = idOfToken(config.eos_token);
  if (named !== undefined) eosIds.add(named);
  for (const id of [generation.eos_token_id].flat()) if (isId(id)) eosIds.add(id);
  for (const id of specialIds) if (endOfTurnTokens.includes(addedIds.get(id)!.content)) eosIds.add(id);
  // What the post-processor puts before an empty text is BOS, whatever the configuration calls it.
  const first = library.encode("", { add_special_tokens: true }).ids[0];
  const bosId = idOfToken(config.bos_token) ?? (first !== undefined && !eosIds.has(first) ? first : null);
  const says = config.add_bos_token;
  return wrap(engine, {
    bosId,
    eosIds: [...eosIds],
    addBos: bosId !== null && (typeof says === "boolean" ? says : first === bosId),
    specialIds,
    chatTemplate: files.chatTemplate ?? templateOf(config.chat_template),
    decoder: json.decoder,
  });
}

/**
 * The tokenizer inside a GGUF file; `metadata` maps the file's keys to their values.
 * Errors: UserError when there is none or it is of an unknown kind.
 */
export function tokenizerFromGguf(metadata: Map<string, unknown>, source: string): Tokenizer {
  const { json, vocabulary, whole, ...facts } = rebuildTokenizer(metadata, source);
  return guarded(source, () => wrap(construct({ json, vocabulary, whole }), { ...facts, decoder: json.decoder }));
}

interface Facts {
  bosId: number | null;
  eosIds: number[];
  addBos: boolean;
  specialIds: Set<number>;
  chatTemplate: string | null;
  /** Of the tokenizer.json. */
  decoder: unknown;
  /** Pieces by id where the library's own list is not complete (equal pieces at two ids). */
  tokens?: string[];
}

interface Engine {
  library: Library;
  encode: Encode;
}

function wrap({ library, encode: idsOf }: Engine, facts: Facts): Tokenizer {
  const pieces: (string | undefined)[] = facts.tokens ?? library.model!.vocab;
  const added = new Set(library.get_added_tokens_decoder().keys());
  const encode = (text: string) => {
    const ids = using("encode", () => idsOf(text)), wrong = ids.find((id) => pieces[id] === undefined);
    if (wrong === undefined) return ids;
    throw new UserError(`The tokenizer gives a text the id ${wrong}, which is none`, {
      hint: "The tokenizer is damaged: fetch it again.",
    });
  };
  return {
    vocabSize: pieces.length,
    bosId: facts.bosId,
    eosIds: facts.eosIds,
    addBos: facts.addBos,
    chatTemplate: facts.chatTemplate,
    encode(text, options = {}) {
      const ids = encode(text);
      return options.addSpecial && facts.addBos && ids[0] !== facts.bosId ? [facts.bosId!, ...ids] : ids;
    },
    decode(ids, options = {}) {
      const kept = [...ids].filter((id) =>
        pieces[id] !== undefined && !(options.skipSpecial && facts.specialIds.has(id))
      );
      if (kept.length === 0) return "";
      return using("decode", () => library.decode(kept, { clean_up_tokenization_spaces: false }));
    },
    tokenText: (id) => pieces[id] ?? "",
    bytesOf: bytesReader(pieces, { spelling: spellingOf(facts.decoder), added }),
    idOf: (token) => library.token_to_id(token),
    isSpecial: (id) => facts.specialIds.has(id),
  };
}

const isId = (id: unknown): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) < mostIds;

/** Throws Error for a piece or a mark whose id is none. */
function checkIds({ model, added_tokens: added }: Json): void {
  const { type, vocab } = (model ?? {}) as { type?: unknown; vocab?: unknown };
  const ids = type === "Unigram" ? [] : Object.entries(vocab ?? {});
  for (const mark of Array.isArray(added) ? added : []) {
    if (typeof mark?.content !== "string") throw new Error(`an added token is ${JSON.stringify(mark).slice(0, 60)}`);
    ids.push([mark.content, mark.id]);
  }
  const wrong = ids.find(([, id]) => !isId(id));
  if (wrong) throw new Error(`token ${JSON.stringify(wrong[0]).slice(0, 60)} has the id ${JSON.stringify(wrong[1])}`);
}

/** Throws UserError for an expression anywhere in a step of the tokenizer that might never come to an end. */
function checkPatterns(step: unknown, source: string): void {
  if (typeof step !== "object" || step === null) return;
  const { Regex } = step as { Regex?: unknown };
  if (typeof Regex === "string" && mayNeverEnd(Regex)) {
    throw new UserError(`${source}: the tokenizer's expression ${JSON.stringify(Regex).slice(0, 200)} may never end`, {
      hint: "Use another copy of the model, or its GGUF file.",
    });
  }
  for (const inner of Object.values(step)) checkPatterns(inner, source);
}

function construct({ json, vocabulary, whole }: TokenizerParts): Engine {
  // The library insists on all five keys being there; files may leave out those that are null.
  const absent = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
  const build = (json: Json) => new Library({ ...absent, ...json }, {});
  const own = vocabulary && bpeEncoder(json, { build, vocabulary });
  if (own) return own;
  const library = build(whole());
  return { library, encode: (text) => library.encode(text, { add_special_tokens: false }).ids };
}

/** What shows only when a text of its kind comes along. */
function using<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new UserError(`The tokenizer cannot ${what} a text: ${(error as Error).message}`, {
      hint: "The tokenizer is damaged or of a kind not supported.",
      cause: error,
    });
  }
}

/** The library believes its files: whatever goes wrong while a tokenizer is built and tried out is the file's fault. */
function guarded(source: string, build: () => Tokenizer): Tokenizer {
  try {
    return build();
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${source}: cannot build the tokenizer: ${(error as Error).message}`, {
      hint: "The tokenizer is damaged or of a kind not supported.",
      cause: error,
    });
  }
}

function readable<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { message } = error as Error, what = error instanceof SyntaxError ? `not JSON: ${message}` : message;
    throw new UserError(`${path}: ${what}`, { hint: "Fetch the file again.", cause: error });
  }
}

/** A chat template is a string, or a list of named ones of which "default" counts. */
function templateOf(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const entry = value.find((item) => item?.name === "default") ?? value[0];
  return typeof entry?.template === "string" ? entry.template : null;
}
