/** Tokenizers for tests, made from tests/golden/tokenizer without any model file. */
import { gunzipSync } from "fflate";
import { type Tokenizer, tokenizerFromGguf } from "../../lib/text/tokenizer.ts";

const folder = new URL("../golden/tokenizer/", import.meta.url);

/** Texts and the ids llama.cpp gives them with SmolLM2's vocabulary. */
export const llamaCppStrings: { text: string; ids: number[] }[] = JSON.parse(
  Deno.readTextFileSync(new URL("strings.json", folder)),
);

/** Small vocabularies and other programs' ids for the first `count` texts; make_tiny.py says what each key is. */
export const tiny: {
  count: number;
  bpe: {
    tokens: string[];
    types: number[];
    merges: string[];
    ids: Record<string, number[][]>;
    rust: Record<string, number[][]>;
  };
  spm: { tokens: string[]; types: number[]; scores: number[]; ids: Record<string, number[][]> };
} = JSON.parse(Deno.readTextFileSync(new URL("tiny.json", folder)));

export const chatMl =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** `tokenizer.ggml.*` metadata under short keys; `undefined` leaves a key out. */
export function ggufMetadata(keys: Record<string, unknown>): Map<string, unknown> {
  const entries = Object.entries(keys).filter(([, value]) => value !== undefined);
  return new Map(entries.map(([key, value]) => [key.includes(".") ? key : `tokenizer.ggml.${key}`, value]));
}

/** The metadata of SmolLM2-135M-Instruct's GGUF file as far as a tokenizer is concerned. */
export function smollm2Metadata(): Map<string, unknown> {
  const lines = new TextDecoder().decode(gunzipSync(Deno.readFileSync(new URL("smollm2_pieces.txt.gz", folder)))).split(
    "\n",
  );
  const merges = lines.slice(252);
  const tokens = [...lines.slice(0, 252), ...merges.map((merge) => merge.replace(" ", ""))];
  return ggufMetadata({
    "model": "gpt2",
    "pre": "smollm",
    tokens,
    merges,
    "token_type": tokens.map((_, id) => (id < 17 ? 3 : 1)),
    "bos_token_id": 1,
    "eos_token_id": 2,
    "unknown_token_id": 0,
    "add_bos_token": false,
    "add_space_prefix": false,
    "tokenizer.chat_template": chatMl,
  });
}

let smollm2: Tokenizer | undefined;

export function smollm2Tokenizer(): Tokenizer {
  return smollm2 ??= tokenizerFromGguf(smollm2Metadata(), "SmolLM2");
}

/** Metadata of the small byte-level vocabulary (500 tokens and `<tool>`); `<|im_start|>` is BOS, `<|im_end|>` EOS. */
export function tinyBpeMetadata(keys: Record<string, unknown> = {}): Map<string, unknown> {
  const { tokens, types, merges } = tiny.bpe;
  return ggufMetadata({
    model: "gpt2",
    pre: "gpt-2",
    tokens,
    token_type: types,
    merges,
    bos_token_id: 1,
    eos_token_id: 2,
    ...keys,
  });
}

/** Metadata of the small SentencePiece vocabulary; `<s>` is BOS, `</s>` EOS. */
export function tinySpmMetadata(keys: Record<string, unknown> = {}): Map<string, unknown> {
  const { tokens, types, scores } = tiny.spm;
  return ggufMetadata({
    model: "llama",
    tokens,
    token_type: types,
    scores,
    bos_token_id: 1,
    eos_token_id: 2,
    unknown_token_id: 0,
    ...keys,
  });
}

/** What a tokenizer.json of the small byte-level vocabulary holds. */
export function tinyTokenizerJson(keys: Record<string, unknown> = {}): Record<string, unknown> {
  const { tokens, types, merges } = tiny.bpe;
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: true };
  return {
    version: "1.0",
    added_tokens: tokens.flatMap((content, id) =>
      types[id] === 1 ? [] : [{ id, content, special: types[id] === 3, normalized: false }]
    ),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
    ...keys,
  };
}
