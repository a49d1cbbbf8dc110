/**
 * How text is cut into words before byte-pair merging, by the name a GGUF file gives it (`tokenizer.ggml.pre`).
 *
 * A GGUF file holds the vocabulary and the merges but only the *name* of the cutting rule; this table is what the name
 * stands for. The expressions are those of the original tokenizer.json files (Oniguruma syntax, rewritten for JavaScript
 * by @huggingface/tokenizers). A list is applied in order, each to the pieces left by the one before; what no expression
 * matches stays a piece of its own.
 */

/** A cutting rule and what the models that use it expect besides. */
export interface PreTokenizer {
  /** Expressions in order; matches and the gaps between them become pieces. */
  regexes: string[];
  /** A piece that is a whole vocabulary entry is taken as it is, without merging. */
  ignoreMerges?: boolean;
  /** Whether BOS is put first where the file does not say. */
  addBos?: boolean;
  /** Canonical composition before anything else, which the file cannot express either. */
  nfc?: boolean;
}

/** https://github.com/openai/gpt-2/blob/9b63575ef42771a015060c964af2c3da4cf7c8ab/src/encoder.py#L53 */
const gpt2Words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** tiktoken's cl100k_base with `digits` for runs of digits; Llama 3 takes up to three, Qwen 2 one by one. */
function cl100kWords(digits: string): string {
  const contractions = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)`;
  const rest = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  return String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}|${rest}`;
}

/** Mistral's tekken: cl100k whose words also end where lower case turns into upper case. */
const tekkenWords = [
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`,
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`,
  String.raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
].join("|");

const smollm: PreTokenizer = { regexes: [String.raw`\p{N}`, gpt2Words] };
const gpt2: PreTokenizer = { regexes: [gpt2Words] };
const llama3: PreTokenizer = { regexes: [cl100kWords(String.raw`\p{N}{1,3}`)], ignoreMerges: true, addBos: true };
const qwen2: PreTokenizer = { regexes: [cl100kWords(String.raw`\p{N}`)], nfc: true };
const tekken: PreTokenizer = { regexes: [tekkenWords], ignoreMerges: true, addBos: true };

/** llama.cpp's rule for files that name none; kept although no known model was trained with it. */
const unnamed: PreTokenizer = {
  regexes: [String.raw`[\p{P}\$\+<=>\^~\|]+`, gpt2Words, String.raw`\p{N}+`, "[0-9][0-9][0-9]"],
};

/** Every name understood; the names are llama.cpp's. */
export const preTokenizers: Record<string, PreTokenizer> = {
  "smollm": smollm,
  "starcoder": smollm,
  "refact": smollm,
  "command-r": smollm,
  "gpt-2": gpt2,
  "gpt2": gpt2,
  "phi-2": gpt2,
  "olmo": gpt2,
  "mpt": gpt2,
  "llama-bpe": llama3,
  "llama3": llama3,
  "llama-v3": llama3,
  "falcon3": llama3,
  "qwen2": qwen2,
  "deepseek-r1-qwen": qwen2,
  "tekken": tekken,
  "default": unnamed,
};

/**
 * The same `pre_tokenizer` of a tokenizer.json with two steps spelt as plain expressions, where @huggingface/tokenizers
 * uses JavaScript's idea of digits and spaces: `Digits` must cut at every Unicode number, and the expression inside
 * `ByteLevel` must know U+0085 and not U+FEFF as a space.
 */
export function spellOut(step: unknown): unknown {
  if (typeof step !== "object" || step === null) return step;
  const { type, ...rest } = step as Record<string, unknown>;
  const split = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
  if (type === "Sequence" && Array.isArray(rest.pretokenizers)) {
    return { type, ...rest, pretokenizers: rest.pretokenizers.map(spellOut) };
  }
  if (type === "Digits") return split(rest.individual_digits ? String.raw`\p{N}` : String.raw`\p{N}+`);
  if (type === "ByteLevel" && rest.use_regex !== false && !rest.add_prefix_space) {
    return { type: "Sequence", pretokenizers: [split(gpt2Words), { type, ...rest, use_regex: false }] };
  }
  return step;
}
