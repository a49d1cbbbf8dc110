/** Token ids against llama.cpp, sentencepiece and Hugging Face's tokenizers; what a damaged tokenizer is answered with. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { tokenizerFromGguf, tokenizerFromJson } from "../../lib/text/tokenizer.ts";
import {
  llamaCppStrings,
  smollm2Metadata,
  smollm2Tokenizer,
  tiny,
  tinyBpeMetadata,
  tinySpmMetadata,
  tinyTokenizerJson,
} from "../helpers/tokenizers.ts";

const texts = llamaCppStrings.map(({ text }) => text);

Deno.test("tokenizerFromGguf gives llama.cpp's ids for 200 texts with SmolLM2's vocabulary", () => {
  const tokenizer = smollm2Tokenizer();
  assert.equal(llamaCppStrings.length, 200);
  for (const { text, ids } of llamaCppStrings) assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
});

Deno.test("tokenizer.decode gives every one of the 200 texts back", () => {
  const tokenizer = smollm2Tokenizer();
  for (const { text, ids } of llamaCppStrings) assert.equal(tokenizer.decode(ids), text);
});

Deno.test("tokenizerFromGguf loads all of a vocabulary of 49,152 pieces", () => {
  const tokenizer = smollm2Tokenizer(), pieces = smollm2Metadata().get("tokenizer.ggml.tokens") as string[];
  assert.equal(tokenizer.vocabSize, 49_152);
  for (const [id, piece] of pieces.entries()) assert.equal(tokenizer.tokenText(id), piece);
});

for (const pre of Object.keys(tiny.bpe.ids)) {
  Deno.test(`tokenizerFromGguf gives llama.cpp's ids with pre-tokenizer ${pre}`, () => {
    const tokenizer = tokenizerFromGguf(tinyBpeMetadata({ pre }), "tiny");
    tiny.bpe.ids[pre].forEach((ids, i) => assert.deepEqual(tokenizer.encode(texts[i]), ids, JSON.stringify(texts[i])));
  });
}

for (const pre of Object.keys(tiny.bpe.rust)) {
  Deno.test(`tokenizerFromGguf gives the original tokenizer's ids with pre-tokenizer ${pre}`, () => {
    const tokenizer = tokenizerFromGguf(tinyBpeMetadata({ pre }), "tiny");
    tiny.bpe.rust[pre].forEach((ids, i) => assert.deepEqual(tokenizer.encode(texts[i]), ids, JSON.stringify(texts[i])));
  });
}

for (const kind of ["prefix", "no_prefix"]) {
  Deno.test(`tokenizerFromGguf gives llama.cpp's ids for SentencePiece, ${kind}`, () => {
    const metadata = tinySpmMetadata({ add_space_prefix: kind === "prefix" });
    const tokenizer = tokenizerFromGguf(metadata, "tiny");
    tiny.spm.ids[kind].forEach((ids, i) => assert.deepEqual(tokenizer.encode(texts[i]), ids, JSON.stringify(texts[i])));
    tiny.spm.ids[kind].forEach((ids, i) => assert.equal(tokenizer.decode(ids), texts[i]));
  });
}

Deno.test("tokenizerFromGguf takes typed arrays and big integers as metadata", () => {
  const plain = tokenizerFromGguf(tinySpmMetadata(), "tiny");
  const typed = tokenizerFromGguf(
    tinySpmMetadata({
      scores: Float32Array.from(tiny.spm.scores),
      token_type: Int32Array.from(tiny.spm.types),
      bos_token_id: 1n,
    }),
    "tiny",
  );
  assert.equal(typed.bosId, 1);
  for (const text of texts) assert.deepEqual(typed.encode(text), plain.encode(text));
});

Deno.test("encode puts BOS first only when asked and only where the model has it", () => {
  const cases: [Record<string, unknown>, boolean][] = [
    [{ pre: "gpt-2" }, false],
    [{ pre: "llama-bpe" }, true],
    [{ pre: "llama-bpe", add_bos_token: false }, false],
    [{ pre: "gpt-2", add_bos_token: true }, true],
    [{ pre: "gpt-2", add_bos_token: true, bos_token_id: undefined }, false],
  ];
  for (const [keys, adds] of cases) {
    const tokenizer = tokenizerFromGguf(tinyBpeMetadata(keys), "tiny");
    const ids = tokenizer.encode("Hello");
    assert.equal(tokenizer.addBos, adds);
    assert.notEqual(ids[0], 1);
    assert.deepEqual(tokenizer.encode("Hello", { addSpecial: true }), adds ? [1, ...ids] : ids);
  }
  assert.equal(tokenizerFromGguf(tinySpmMetadata(), "tiny").addBos, true);
});

Deno.test("eosIds begins with the file's own and holds the other tokens that end a turn", () => {
  assert.deepEqual(smollm2Tokenizer().eosIds, [2, 0]);
  assert.deepEqual(tokenizerFromGguf(tinyBpeMetadata({ eos_token_id: 0, eot_token_id: 7 }), "tiny").eosIds, [0, 7, 2]);
  assert.deepEqual(tokenizerFromGguf(tinySpmMetadata({ eos_token_id: undefined }), "tiny").eosIds, []);
});

Deno.test("tokenizer.bytesOf: an answer's bytes are its text, with both spellings; marks are their names", () => {
  const bytesOf = (tokenizer: ReturnType<typeof smollm2Tokenizer>, ids: number[]) =>
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      Uint8Array.from(ids.flatMap((id) => [...tokenizer.bytesOf(id)])),
    );
  const bpe = smollm2Tokenizer(), spm = tokenizerFromGguf(tinySpmMetadata({ add_space_prefix: false }), "tiny");
  for (const text of texts) {
    assert.equal(bytesOf(bpe, bpe.encode(text)), text);
    assert.equal(bytesOf(spm, spm.encode(text)), text);
  }
  assert.equal(bytesOf(bpe, [2]), "<|im_end|>");
  assert.equal(bytesOf(bpe, [999_999]), "");
});

Deno.test("tokenText, idOf, isSpecial and skipSpecial tell marks from text", () => {
  const tokenizer = smollm2Tokenizer();
  assert.equal(tokenizer.vocabSize, 49152);
  assert.equal(tokenizer.tokenText(2), "<|im_end|>");
  assert.equal(tokenizer.tokenText(49152), "");
  assert.equal(tokenizer.idOf("<|im_end|>"), 2);
  assert.equal(tokenizer.idOf("no such piece"), undefined);
  assert.equal(tokenizer.isSpecial(2), true);
  assert.equal(tokenizer.isSpecial(17), false);
  const ids = tokenizer.encode("<|im_start|>Hi there<|im_end|>");
  assert.equal(tokenizer.decode(ids, { skipSpecial: true }), "Hi there");
  assert.equal(tokenizer.decode([]), "");
  assert.equal(tokenizer.decode([2], { skipSpecial: true }), "");
});

Deno.test("a piece named __proto__ is a piece like any other", () => {
  const tokens = [...tiny.bpe.tokens];
  tokens[400] = "__proto__";
  const tokenizer = tokenizerFromGguf(tinyBpeMetadata({ tokens }), "tiny");
  assert.equal(tokenizer.idOf("__proto__"), 400);
  assert.equal(tokenizer.idOf("toString"), undefined);
});

const damaged: [name: string, keys: Record<string, unknown>, message: RegExp][] = [
  ["no tokenizer at all", { model: undefined, tokens: undefined }, /no tokenizer in the file/],
  ["no tokens", { tokens: undefined }, /tokenizer\.ggml\.tokens is missing/],
  ["an unknown kind", { model: "t5" }, /model is "t5"/],
  ["tokens of wrong type", { tokens: [1, 2] }, /tokens is not a list of strings/],
  ["an empty vocabulary", { tokens: [] }, /tokens is not a list of strings/],
  ["no merges", { merges: undefined }, /merges is missing/],
  ["an unknown pre-tokenizer", { pre: "smollm9" }, /unknown pre-tokenizer "smollm9"/],
  ["token types of another length", { token_type: [1, 2, 3] }, /token_type has 3 entries, .* has 501/],
  ["token types of wrong type", { token_type: "1" }, /token_type is not a list of numbers/],
  ["EOS beyond the vocabulary", { eos_token_id: 501 }, /eos_token_id is 501, the vocabulary has 501/],
  ["a BOS that is no number", { bos_token_id: "x" }, /bos_token_id is x/],
];
for (const [name, keys, message] of damaged) {
  Deno.test(`tokenizerFromGguf refuses ${name} with one clear line`, () => {
    assert.throws(() => tokenizerFromGguf(tinyBpeMetadata(keys), "broken.gguf"), (error: unknown) => {
      assert(error instanceof UserError);
      assert.match(error.message, message);
      assert.match(error.message, /broken\.gguf/);
      assert(error.hint);
      return true;
    });
  });
}

Deno.test("tokenizerFromGguf refuses SentencePiece without scores", () => {
  assert.throws(() => tokenizerFromGguf(tinySpmMetadata({ scores: undefined }), "x"), /scores is missing/);
});

Deno.test("tokenizerFromJson encodes as the same vocabulary from GGUF", () => {
  const fromJson = tokenizerFromJson({ tokenizerJson: JSON.stringify(tinyTokenizerJson()), source: "folder" });
  const fromGguf = tokenizerFromGguf(tinyBpeMetadata({ pre: "gpt-2" }), "tiny");
  for (const text of texts) assert.deepEqual(fromJson.encode(text), fromGguf.encode(text), JSON.stringify(text));
  assert.equal(fromJson.vocabSize, fromGguf.vocabSize);
});

Deno.test("tokenizerFromJson cuts at every Unicode number where the file says Digits", () => {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const pre_tokenizer = { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel] };
  const tokenizer = tokenizerFromJson({
    tokenizerJson: JSON.stringify(tinyTokenizerJson({ pre_tokenizer })),
    source: "x",
  });
  tiny.bpe.ids.smollm.forEach((ids, i) => assert.deepEqual(tokenizer.encode(texts[i]), ids, JSON.stringify(texts[i])));
});

Deno.test("tokenizerFromJson finds BOS, EOS and the chat template in the files beside it", () => {
  const template = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<|im_start|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: {},
  };
  const tokenizer = tokenizerFromJson({
    tokenizerJson: JSON.stringify(tinyTokenizerJson({ post_processor: template })),
    tokenizerConfig: JSON.stringify({
      bos_token: "<|im_start|>",
      eos_token: { content: "<|endoftext|>", special: true },
      chat_template: [{ name: "tool_use", template: "T" }, { name: "default", template: "D" }],
    }),
    generationConfig: JSON.stringify({ eos_token_id: [0, 300] }),
    source: "folder",
  });
  assert.equal(tokenizer.bosId, 1);
  assert.equal(tokenizer.addBos, true);
  assert.deepEqual(tokenizer.eosIds, [0, 300, 2]);
  assert.equal(tokenizer.chatTemplate, "D");
  assert.equal(tokenizer.encode("x", { addSpecial: true })[0], 1);
  assert.notEqual(tokenizer.encode("x")[0], 1);
});

Deno.test("tokenizerFromJson prefers chat_template.jinja and an explicit add_bos_token", () => {
  const tokenizer = tokenizerFromJson({
    tokenizerJson: JSON.stringify(tinyTokenizerJson()),
    tokenizerConfig: JSON.stringify({ bos_token: "<|im_start|>", add_bos_token: true, chat_template: "old" }),
    chatTemplate: "new",
    source: "folder",
  });
  assert.equal(tokenizer.addBos, true);
  assert.equal(tokenizer.chatTemplate, "new");
});

const damagedJson: [name: string, tokenizerJson: string, message: RegExp][] = [
  ["a cut file", '{"model": {"type"', /folder\/tokenizer\.json: not JSON/],
  ["a list", "[]", /expected a JSON object/],
  ["no model", "{}", /cannot build the tokenizer/],
  ["an unknown model", '{"model": {"type": "Magic", "vocab": null}}', /cannot build the tokenizer/],
  ["BPE without merges", '{"model": {"type": "BPE", "vocab": {"a": 0}}}', /cannot build the tokenizer/],
];
for (const [name, tokenizerJson, message] of damagedJson) {
  Deno.test(`tokenizerFromJson refuses ${name} with one clear line`, () => {
    assert.throws(() => tokenizerFromJson({ tokenizerJson, source: "folder" }), (error: unknown) => {
      assert(error instanceof UserError);
      assert.match(error.message, message);
      assert(!error.message.includes("\n"));
      return true;
    });
  });
}
