/** That the fast way to ids changes none: against the library, for every family and cutting rule, on texts of all kinds. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { bpeEncoder } from "../../lib/text/bpe_encoder.ts";
import { rebuildTokenizer } from "../../lib/text/gguf_tokenizer.ts";
import { preTokenizers, spellOut } from "../../lib/text/pre_tokenizers.ts";
import { readTokenizerJson, type TokenizerParts } from "../../lib/text/tokenizer_json.ts";
import { familyFiles, familyMissing, jsonFamilies, mistralMetadata } from "../helpers/real_tokenizers.ts";
import { llamaCppStrings, smollm2Metadata, tinySpmMetadata, tinyTokenizerJson } from "../helpers/tokenizers.ts";
import { variedStrings } from "../helpers/varied_strings.ts";

type Json = Record<string, unknown>;

const absent = { normalizer: null, pre_tokenizer: null, post_processor: null, added_tokens: [] };
const build = (json: Json) => new Library({ ...absent, ...json }, {});

const texts = [...variedStrings(), ...llamaCppStrings.map(({ text }) => text)];

/** Beginnings, ends and gaps of words in every alphabet, spaces of all kinds, marks whole and cut; lone surrogates too. */
const randomTexts = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.string({ unit: "grapheme-ascii", maxLength: 8 }) },
    { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 4 }) },
    { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constantFrom("\ud83d", "\ude00") },
    { weight: 3, arbitrary: fc.constantFrom(...texts.slice(0, 160)) },
    { weight: 2, arbitrary: fc.constantFrom(" ", " ", "  ", "\n", "\n\n", "\t", "▁", "the", " the", ", ", ". ") },
  ),
  { maxLength: 12 },
).map((parts) => parts.join(""));

/** Both ways to ids. The fast one has to be there, so that the library is not compared with itself. */
function checkSame(json: Json, { marks = [], numRuns = 200, parts = readTokenizerJson(JSON.stringify(json)) }: {
  marks?: string[];
  numRuns?: number;
  parts?: Pick<TokenizerParts, "json" | "vocabulary">;
} = {}): void {
  assert.ok(parts.vocabulary, "not understood");
  const library = build(json), own = bpeEncoder(parts.json, { build, vocabulary: parts.vocabulary });
  assert.ok(own, "left to the library");
  const check = (text: string) => {
    assert.deepEqual(own.encode(text), library.encode(text, { add_special_tokens: false }).ids, JSON.stringify(text));
  };
  texts.forEach(check);
  const withMarks = fc.array(fc.oneof(randomTexts, fc.constantFrom("", ...marks)), { maxLength: 4 });
  fc.assert(fc.property(withMarks, (parts) => check(parts.join(""))), { seed: 1, numRuns });
  check("a".repeat(3000) + "中".repeat(3000));
  check("");
}

const rules = Object.keys(preTokenizers);
for (
  const pre of rules.filter((name) => rules.find((other) => preTokenizers[other] === preTokenizers[name]) === name)
) {
  Deno.test(`bpeEncoder() gives the library's ids with the rule ${pre}`, () => {
    const parts = rebuildTokenizer(smollm2Metadata().set("tokenizer.ggml.pre", pre), "test");
    checkSame(parts.whole(), { marks: ["<|im_start|>", "<|im_end|>"], numRuns: 100, parts });
  });
}

for (const family of jsonFamilies) {
  const missing = await familyMissing(family);
  if (missing) console.log(`bpe_encoder_test, ${family}: ${missing}`);
  Deno.test({
    name: `bpeEncoder() gives the library's ids for ${family}`,
    ignore: missing !== null,
    fn: () => {
      const json = JSON.parse(familyFiles(family).tokenizerJson);
      const marks = json.added_tokens.map(({ content }: { content: string }) => content);
      checkSame({ ...json, pre_tokenizer: spellOut(json.pre_tokenizer) }, { marks });
    },
  });
}

const noMistral = await familyMissing("mistral");
if (noMistral) console.log(`bpe_encoder_test, mistral: ${noMistral}`);
Deno.test({
  name: "bpeEncoder() gives the library's ids for mistral",
  ignore: noMistral !== null,
  fn: () => {
    const parts = rebuildTokenizer(mistralMetadata(), "test");
    checkSame(parts.whole(), { marks: ["<s>", "[INST]"], parts });
  },
});

const spm = (keys: Json = {}) => rebuildTokenizer(tinySpmMetadata(keys), "test").whole();
const withoutBytes = () => {
  const json = spm(), model = json.model as { vocab: Record<string, number> };
  const vocab = Object.fromEntries(Object.entries(model.vocab).filter(([piece]) => !piece.startsWith("<0x")));
  return { ...json, model: { ...model, vocab } };
};
const mark = (content: string, keys: Json = {}) => ({ id: 900, content, special: true, ...keys });
const added = (...marks: Json[]) =>
  tinyTokenizerJson({ added_tokens: marks.map((mark, i) => ({ ...mark, id: 900 + i })) });
const split = (Regex: string, keys: Json = {}) => ({
  type: "Split",
  pattern: { Regex },
  behavior: "Isolated",
  ...keys,
});

const expressions = (...list: string[]) => ({
  type: "Sequence",
  pretokenizers: [...list.map((one) => split(one)), { type: "ByteLevel", add_prefix_space: false, use_regex: false }],
});
/** Of the tokenizer.json of deepseek-ai/DeepSeek-V3, and of openai/gpt-oss-20b. */
const deepSeek = [
  String.raw`\p{N}{1,3}`,
  "[一-龥\u3040-ゟ゠-ヿ]+",
  String
    .raw`[!-/:-@\[-\x60{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
];
const endings = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)?`;
const o200k = [
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+${endings}`,
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*${endings}`,
  String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
].join("|");

const odd: Record<string, Json> = {
  "SentencePiece": spm(),
  "SentencePiece without a space before the text": spm({ add_space_prefix: false }),
  "unknown characters in a row as one": withoutBytes(),
  "unknown characters one by one": { ...withoutBytes(), model: { ...withoutBytes().model, fuse_unk: false } },
  "unknown characters left out": { ...withoutBytes(), model: { ...withoutBytes().model, unk_token: null } },
  "words by Metaspace": { ...spm(), normalizer: null, pre_tokenizer: { type: "Metaspace", prepend_scheme: "first" } },
  "marks within marks": added(mark("<a"), mark("<a><b>"), mark("><"), mark("  "), mark("\n\n")),
  "marks that take in spaces": added(mark("<a>", { lstrip: true }), mark("<b>", { rstrip: true }), mark("<|x")),
  "a mark that is a piece and part of others": added(mark("th"), mark("e")),
  "marks of normalised text": {
    ...added(mark("Å", { special: false }), mark("<a> ", { normalized: true, lstrip: true })),
    normalizer: { type: "Sequence", normalizers: [{ type: "NFD" }, { type: "Lowercase" }] },
  },
  "DeepSeek's expressions": tinyTokenizerJson({ pre_tokenizer: expressions(...deepSeek) }),
  "o200k's expression": tinyTokenizerJson({ pre_tokenizer: expressions(o200k) }),
  "a space before the text": tinyTokenizerJson({ pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } }),
  "an expression that also matches nothing": tinyTokenizerJson({ pre_tokenizer: split("[a-m]*") }),
  "an expression of what is left out": tinyTokenizerJson({ pre_tokenizer: split(" +", { behavior: "Removed" }) }),
  "an expression of what is kept": tinyTokenizerJson({ pre_tokenizer: split("\\w+", { invert: true }) }),
};
for (const [name, json] of Object.entries(odd)) {
  Deno.test(`bpeEncoder() gives the library's ids for ${name}`, () => {
    checkSame(spelt(json), { marks: ["<a>", "<a", "<b>", " <a> ", "  <b>  ", "Å", "A\u030a", "<A> "] });
  });
}

function spelt(json: Json): Json {
  return { ...json, pre_tokenizer: spellOut(json.pre_tokenizer) };
}

const model = tinyTokenizerJson().model as Json;
const left: Record<string, Json> = {
  "a model of another kind": tinyTokenizerJson({ model: { ...model, type: "WordPiece" } }),
  "pieces with an end of their own": tinyTokenizerJson({ model: { ...model, end_of_word_suffix: "</w>" } }),
  "a merge that makes no piece": tinyTokenizerJson({ model: { ...model, merges: ["<|im_end|> a"] } }),
  "two pieces with one id": tinyTokenizerJson({ model: { ...model, vocab: { ...model.vocab as Json, "abc": 300 } } }),
  "a mark with the content of another piece": tinyTokenizerJson({
    added_tokens: [{ id: 900, content: "É", normalized: true }],
    normalizer: { type: "Replace", pattern: { String: "É" }, content: "e" },
  }),
};
for (const [name, json] of Object.entries(left)) {
  Deno.test(`bpeEncoder() leaves ${name} to the library`, () => {
    const { json: rest, vocabulary } = readTokenizerJson(JSON.stringify(json));
    assert.equal(vocabulary && bpeEncoder(rest, { build, vocabulary }), null);
  });
}
