// The real model, tuned and quantised: our file and the one that llama.cpp's own quantiser makes, both run by llama.cpp.
import assert from "node:assert/strict";
import { fetchModel } from "../../lib/cli/pull.ts";
import { exportGguf } from "../../lib/export/gguf.ts";
import { ggufKinds } from "../../lib/export/gguf_kinds.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import { tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
import { differences } from "../helpers/golden.ts";
import { llamaCpp, llamaCppMissing, llamaCppQuantize } from "../helpers/llama_cpp.ts";
import { randomFloats } from "../helpers/random.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`quantised_test: ${missing}`);

/** English prose that does not change: the answers of the sample rows. */
function fixedText(): string {
  const rows = Deno.readTextFileSync(new URL("../../data/cultural-qa-16.jsonl", import.meta.url)).trim().split("\n");
  return rows.map((row) => JSON.parse(row).output).join("\n");
}

Deno.test({
  name:
    "exportGguf() of SmolLM2 with an adapter as Q4_K_M: every byte of llama.cpp's own file, and it answers as F16 does",
  ignore: missing !== null,
  fn: () =>
    inTempFolder(async (dir) => {
      const source = openModel(await fetchModel("smollm2-135m")), tokens = source.tokenizer();
      assert.ok(tokens.kind === "gguf");
      const text = tokenizerFromGguf(tokens.metadata, source.path).encode(fixedText()).slice(0, 96);
      assert.equal(text.length, 96);
      const settings = { r: 8, lora_alpha: 8, lora_dropout: 0, use_rslora: false, use_dora: false, seed: 0 } as const;
      const parameters = makeParameters(source.config, {
        ...settings,
        target_modules: [...projections],
        init_lora_weights: "hash",
      });
      for (const [i, { name, value }] of parameters.entries()) {
        if (name.includes("lora_B")) value.set(randomFloats(value.length, i).map((x) => x * 0.003));
      }
      const adapter = { settings, parameters };
      const [f16, ours, theirs] = ["f16", "ours", "theirs"].map((name) => `${dir}/${name}.gguf`);

      // Quantised from the numbers of the same F16 file: llama.cpp's bytes, in the fallback types of rows of 576 too.
      exportGguf(f16, { source, adapter, dtype: "F16" });
      source.close();
      const tuned = openModel(f16);
      exportGguf(ours, { source: tuned, adapter: null, dtype: "Q4_K_M" });
      tuned.close();
      await llamaCppQuantize(f16, [{ path: theirs, fileType: ggufKinds.Q4_K_M.fileType }]);
      const [a, b] = [ours, theirs].map((path) => {
        const bytes = openFile(path);
        return { ...openGguf(bytes), close: () => bytes.close() };
      });
      assert.equal(a.tensors.size, b.tensors.size);
      for (const [name, { dtype }] of b.tensors) {
        assert.equal(a.tensors.get(name)!.dtype, dtype, name);
        assert.equal(differences(a.bytes(name), b.bytes(name)), 0, name);
      }
      a.close();
      b.close();

      const perplexity = async (gguf: string) => Math.exp((await llamaCpp({ gguf, losses: [text] })).losses[0]);
      const found = { f16: await perplexity(f16), q4_k_m: await perplexity(ours) };
      console.log("perplexity of the sample answers in llama.cpp:", found);
      // So small a model loses several percent, and so short a text says no more.
      assert.ok(Math.abs(found.q4_k_m / found.f16 - 1) <= 0.15, "quantised and not");
    }),
});
