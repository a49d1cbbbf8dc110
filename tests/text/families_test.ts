// The real tokenizers of the supported families on 500 texts: from tokenizer.json with the ids of Hugging Face's own
// library (tests/golden/tokenizer/make_families.py), and from GGUF, as this program writes it, with llama.cpp's.
import assert from "node:assert/strict";
import { gunzipSync } from "fflate";
import { tokenizerKeys } from "../../lib/export/tokenizer_keys.ts";
import { writeAtomic } from "../../lib/files/atomic.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import type { TypedValue } from "../../lib/formats/gguf_values.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { type Tokenizer, tokenizerFromGguf, tokenizerFromJson } from "../../lib/text/tokenizer.ts";
import { goldenPath } from "../helpers/golden.ts";
import { llamaCpp, llamaCppMissing } from "../helpers/llama_cpp.ts";
import { familyFiles, familyMissing, jsonFamilies, mistralMetadata } from "../helpers/real_tokenizers.ts";
import { variedStrings } from "../helpers/varied_strings.ts";

const texts = variedStrings();

/** Ids by family, of each of the texts. */
const golden: Record<string, number[][]> = JSON.parse(
  new TextDecoder().decode(gunzipSync(Deno.readFileSync(goldenPath("tokenizer/families.json.gz")))),
);

/**
 * The texts that llama.cpp reads as the model was trained to. It has no Unicode normalisation, so that Qwen's NFC is done
 * before, and takes Qwen's ordinary piece "</s>" for a mark, by its look.
 */
function comparedTexts(family: string): string[] {
  if (family !== "qwen3") return texts;
  return texts.map((text) => text.normalize("NFC")).filter((text) => !text.includes("</s>"));
}

type Keys = [string, TypedValue][];

/** A GGUF file of a tokenizer alone. `use` is called with its path. */
async function withVocabulary(keys: Keys, use: (path: string) => Promise<void>): Promise<void> {
  const path = Deno.makeTempFileSync({ suffix: ".gguf" });
  try {
    writeAtomic(path, writeGguf([["general.architecture", { type: "string", value: "llama" }], ...keys], []));
    await use(path);
  } finally {
    Deno.removeSync(path);
  }
}

/** The file's tokenizer as this program reads it, against llama.cpp's ids. */
async function checkAgainstLlamaCpp(path: string, family: string): Promise<void> {
  const source = openFile(path), tokenizer = tokenizerFromGguf(openGguf(source).metadata, path);
  source.close();
  const compared = comparedTexts(family);
  const { tokenize } = await llamaCpp({ gguf: path, vocabOnly: true, tokenize: compared, parseSpecial: true });
  assert.equal(differences(tokenizer, compared, tokenize), "");
  assert.ok(compared.length > 480, `${compared.length} texts`);
}

/** The first text with other ids, and how many there are; "" for none. */
function differences(tokenizer: Tokenizer, texts: string[], expected: number[][]): string {
  const spelt = (ids: number[]) => ids.map((id) => tokenizer.tokenText(id)).join("|");
  const wrong = texts.flatMap((text, i) => {
    const ids = tokenizer.encode(text);
    return ids.join() === expected[i].join()
      ? []
      : [`${JSON.stringify(text)}: ${spelt(ids)} not ${spelt(expected[i])}`];
  });
  return wrong.length === 0 ? "" : `${wrong.length} of ${texts.length} texts differ, as ${wrong[0]}`;
}

for (const family of jsonFamilies) {
  const missing = await familyMissing(family), noLlamaCpp = missing ?? await llamaCppMissing();
  if (noLlamaCpp) console.log(`families_test, ${family}: ${noLlamaCpp}`);
  Deno.test({
    name: `tokenizerFromJson() gives the ids of Hugging Face's tokenizers for ${family}`,
    ignore: missing !== null,
    fn: () => {
      assert.equal(golden[family].length, texts.length);
      assert.equal(differences(tokenizerFromJson(familyFiles(family)), texts, golden[family]), "");
    },
  });
  Deno.test({
    name: `tokenizerFromGguf() gives llama.cpp's ids for ${family}, as exported`,
    ignore: noLlamaCpp !== null,
    fn: async () => {
      const files = familyFiles(family), tokenizer = tokenizerFromJson(files);
      const about = { tokenizer, vocabSize: tokenizer.vocabSize, chatTemplate: null, source: family };
      const keys = tokenizerKeys({ ...about, tokenizerJson: files.tokenizerJson });
      await withVocabulary(keys, (path) => checkAgainstLlamaCpp(path, family));
    },
  });
}

const noMistral = await familyMissing("mistral") ?? await llamaCppMissing();
if (noMistral) console.log(`families_test, mistral: ${noMistral}`);
Deno.test({
  name: "tokenizerFromGguf() gives llama.cpp's ids for mistral",
  ignore: noMistral !== null,
  fn: async () => {
    const types = { tokens: "string[]", scores: "float32[]", token_type: "int32[]" } as Record<
      string,
      TypedValue["type"]
    >;
    const keys = Array.from(mistralMetadata(), ([key, value]): Keys[number] => {
      const type = types[key.split(".").at(-1)!] ?? (typeof value === "string" ? "string" : "uint32");
      return [key, { type, value } as TypedValue];
    });
    await withVocabulary(keys, (path) => checkAgainstLlamaCpp(path, "mistral"));
  },
});
