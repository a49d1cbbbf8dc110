/**
 * The tokenizer of a Hugging Face folder as the `tokenizer.*` keys of a GGUF file: the way back of
 * lib/text/gguf_tokenizer.ts. Byte-level BPE becomes model "gpt2", with the name of its cutting rule; SentencePiece BPE
 * becomes model "llama", its scores being the ranks of the merges. Anything else is refused by name.
 */
import { UserError } from "../errors.ts";
import { type Merge, mergePair } from "../text/bpe_merges.ts";
import { tokenType } from "../text/gguf_tokenizer.ts";
import { preTokenizers } from "../text/pre_tokenizers.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Metadata, value } from "./gguf_keys.ts";

/** The parts of tokenizer.json that are read here; all of them may be missing or of another kind in a foreign file. */
interface TokenizerJson {
  model?: {
    type?: string;
    vocab?: Record<string, number>;
    merges?: Merge[];
    byte_fallback?: boolean;
    ignore_merges?: boolean;
    unk_token?: string | null;
  };
  normalizer?: Step | null;
  pre_tokenizer?: Step | null;
  added_tokens?: { id: number; content: string; special?: boolean }[];
}

/** A normalizer or pre-tokenizer, possibly a sequence of such. */
interface Step {
  type?: string;
  normalizers?: Step[];
  pretokenizers?: Step[];
  pattern?: { Regex?: string; String?: string };
  individual_digits?: boolean;
  use_regex?: boolean;
  prepend_scheme?: string;
  add_prefix_space?: boolean;
}

export interface TokenizerKeysOptions {
  /** Content of tokenizer.json. */
  tokenizerJson: string;
  /** The same tokenizer, for its special ids. */
  tokenizer: Tokenizer;
  /** Rows of the embedding; ids without a piece become [PAD0], [PAD1], ... */
  vocabSize: number;
  chatTemplate: string | null;
  /** Whose tokenizer it is, for messages. */
  source: string;
}

/** The keys. UserError for a tokenizer that llama.cpp does not have. */
export function tokenizerKeys(options: TokenizerKeysOptions): Metadata {
  const { tokenizer, source, chatTemplate } = options;
  const json: TokenizerJson = JSON.parse(options.tokenizerJson);
  const { model } = json;
  if (model?.type !== "BPE" || !model.vocab || !model.merges) {
    throw unknown(source, `its model is ${model?.type ?? "missing"}, known is BPE`);
  }
  const isSentencePiece = model.byte_fallback === true;
  const { tokens, types } = vocabulary(json, { ...options, isSentencePiece });
  const id = (key: string, id: number | null | undefined): Metadata =>
    id === null || id === undefined ? [] : [[`tokenizer.ggml.${key}`, value("uint32", id)]];
  const turnEnd = tokenizer.eosIds.find((id, i) => i > 0 && /eot|im_end|end_of_turn/.test(tokenizer.tokenText(id)));
  const unknownToken = model.unk_token ?? undefined;
  return [
    ["tokenizer.ggml.model", value("string", isSentencePiece ? "llama" : "gpt2")],
    ...(isSentencePiece ? sentencePieceKeys(json, tokens) : byteLevelKeys(json, source)),
    ["tokenizer.ggml.tokens", value("string[]", tokens)],
    ["tokenizer.ggml.token_type", value("int32[]", types)],
    ...id("bos_token_id", tokenizer.bosId),
    ...id("eos_token_id", tokenizer.eosIds[0]),
    ...id("eot_token_id", turnEnd),
    ...id("unknown_token_id", unknownToken === undefined ? undefined : tokenizer.idOf(unknownToken)),
    ["tokenizer.ggml.add_bos_token", value("bool", tokenizer.addBos)],
    ["tokenizer.ggml.add_eos_token", value("bool", false)],
    ...(chatTemplate === null ? [] : [["tokenizer.chat_template", value("string", chatTemplate)] as Metadata[number]]),
  ];
}

/** Pieces and types of ids 0..vocabSize-1. */
function vocabulary(
  json: TokenizerJson,
  { vocabSize, isSentencePiece, source }: { vocabSize: number; isSentencePiece: boolean; source: string },
): { tokens: string[]; types: Int32Array } {
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Int32Array(vocabSize).fill(tokenType.unused);
  const put = (id: number, token: string, type: number) => {
    if (!(Number.isInteger(id) && id >= 0 && id < vocabSize)) {
      throw new UserError(
        `${source}/tokenizer.json: token ${JSON.stringify(token)} has id ${id}, the model ${vocabSize}`,
        {
          hint: "The tokenizer belongs to another model, or tokens were added without enlarging the embedding.",
        },
      );
    }
    [tokens[id], types[id]] = [token, type];
  };
  for (const [token, id] of Object.entries(json.model!.vocab!)) {
    const isByte = isSentencePiece && /^<0x[0-9A-F]{2}>$/.test(token);
    put(id, token, isByte ? tokenType.byte : token === json.model!.unk_token ? tokenType.unknown : tokenType.normal);
  }
  for (const { id, content, special } of json.added_tokens ?? []) {
    if (isSentencePiece && types[id] === tokenType.unknown) continue;
    // llama.cpp looks for user-defined tokens in the raw text, where spaces are spaces.
    const text = isSentencePiece && !special ? content.replaceAll("▁", " ") : content;
    put(id, text, special ? tokenType.control : tokenType.userDefined);
  }
  return { tokens, types };
}

function byteLevelKeys(json: TokenizerJson, source: string): Metadata {
  const regexes = steps(json.pre_tokenizer).flatMap((step) => {
    if (step.type === "Digits" && step.individual_digits) return [digit];
    if (step.type === "Split") return [step.pattern?.Regex ?? "?"];
    if (step.type === "ByteLevel") return step.use_regex === false ? [] : preTokenizers["gpt-2"].regexes;
    return [`${step.type}`];
  });
  const name = Object.keys(preTokenizers).find((name) => {
    const rule = preTokenizers[name];
    return rule.regexes.join("\n") === regexes.join("\n") &&
      (rule.ignoreMerges ?? false) === (json.model!.ignore_merges ?? false);
  });
  if (!name) throw unknown(source, `llama.cpp has no name for its cutting rule ${JSON.stringify(regexes)}`);
  return [
    ["tokenizer.ggml.pre", value("string", name)],
    ["tokenizer.ggml.merges", value("string[]", json.model!.merges!.map(mergeText))],
  ];
}

/** How `Digits` with individual_digits cuts. */
const digit = String.raw`\p{N}`;

function sentencePieceKeys(json: TokenizerJson, tokens: string[]): Metadata {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  // Pieces that no merge makes are never the result of one in llama.cpp either, or its last choice.
  const scores = new Float32Array(tokens.length).fill(-1e9);
  json.model!.merges!.forEach((merge, rank) => {
    const id = ids.get(mergePair(merge).join(""));
    if (id !== undefined) scores[id] = Math.max(scores[id], -rank);
  });
  const prefixed = [...steps(json.normalizer), ...steps(json.pre_tokenizer)].some((step) =>
    step.type === "Prepend" ||
    (step.type === "Metaspace" && step.prepend_scheme !== "never" && step.add_prefix_space !== false)
  );
  return [
    ["tokenizer.ggml.pre", value("string", "default")],
    ["tokenizer.ggml.scores", value("float32[]", scores)],
    ["tokenizer.ggml.add_space_prefix", value("bool", prefixed)],
  ];
}

/** A step, or the steps of a sequence. */
function steps(step: Step | null | undefined): Step[] {
  if (!step) return [];
  return step.type === "Sequence" ? [...step.normalizers ?? [], ...step.pretokenizers ?? []] : [step];
}

function mergeText(merge: Merge): string {
  return typeof merge === "string" ? merge : merge.join(" ");
}

function unknown(source: string, why: string): UserError {
  return new UserError(`Cannot write the tokenizer of ${source} into a GGUF file: ${why}`, {
    hint: "Export the model as safetensors.",
  });
}
