/** That remembering words changes no token: against the library, for every cutting rule, on texts of all kinds. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { rebuildTokenizer } from "../../lib/text/gguf_tokenizer.ts";
import { preTokenizers } from "../../lib/text/pre_tokenizers.ts";
import { rememberWords } from "../../lib/text/word_memo.ts";
import { llamaCppStrings, smollm2Metadata, tinySpmMetadata } from "../helpers/tokenizers.ts";

function libraryOf(metadata: Map<string, unknown>) {
  const { json } = rebuildTokenizer(metadata, "test");
  const library = new Library({ post_processor: null, normalizer: null, pre_tokenizer: null, ...json }, {});
  return (text: string) => library.encode(text, { add_special_tokens: false }).ids;
}

const pieces = fc.oneof(
  fc.constantFrom(
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "'s",
    "'RE",
    "...",
    ", ",
    ". ",
    "é",
    "文化",
    "Ж",
    "<|im_end|>",
    "👩‍🚀",
    "\u00a0",
    "\u3000",
  ),
  fc.string({ unit: "grapheme-ascii", maxLength: 6 }),
  fc.string({ unit: "binary", maxLength: 3 }),
);
const texts = fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join("").toWellFormed());

for (
  const pre of Object.keys(preTokenizers).filter((name, i, all) =>
    all.findIndex((other) => preTokenizers[other] === preTokenizers[name]) === i
  )
) {
  Deno.test(`words remembered give the library's tokens with the rule ${pre}`, () => {
    const encode = libraryOf(smollm2Metadata().set("tokenizer.ggml.pre", pre));
    const remembering = rememberWords(encode);
    for (const { text } of llamaCppStrings) assert.deepEqual(remembering(text), encode(text), JSON.stringify(text));
    fc.assert(fc.property(texts, (text) => assert.deepEqual(remembering(text), encode(text))), {
      seed: 1,
      numRuns: 300,
    });
  });
}

Deno.test("a byte-level vocabulary asks the library for a word once", () => {
  const encode = libraryOf(smollm2Metadata());
  let asked: string[] = [];
  const remembering = rememberWords((text) => (asked.push(text), encode(text)));
  asked = [];
  remembering("wax, wax and wax, wax");
  assert.deepEqual(asked, ["wax", ",", " wax", " and"]);
});

Deno.test("a vocabulary that merges across spaces is asked for whole texts", () => {
  const encode = libraryOf(tinySpmMetadata());
  assert.equal(rememberWords(encode), encode);
});
