// The real model, tuned and quantised: our file and the one that llama.cpp's own quantiser makes, both run by llama.cpp.
import assert from "node:assert/strict";
import { fetchModel } from "../../lib/cli/pull.ts";
import { exportGguf } from "../../lib/export/gguf.ts";
import { ggufKinds } from "../../lib/export/gguf_kinds.ts";
import { makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import { tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
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
  name: "exportGguf() of SmolLM2 with an adapter as Q4_K_M: the perplexity of llama.cpp's own file within 2 %",
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
      const adapter = { settings, parameters }, dtype = "Q4_K_M", { fileType } = ggufKinds[dtype];
      const [f16, ours, theirs] = ["f16", "ours", "theirs"].map((name) => `${dir}/${name}.gguf`);

      // With an adapter we quantise the f32 sum, and llama.cpp what is left of it in F16.
      exportGguf(f16, { source, adapter, dtype: "F16" });
      exportGguf(ours, { source, adapter, dtype });
      source.close();
      await llamaCppQuantize(f16, [{ path: theirs, fileType }]);
      const perplexity: Record<string, number> = {};
      for (const [name, gguf] of Object.entries({ f16, ours, theirs })) {
        perplexity[name] = Math.exp((await llamaCpp({ gguf, losses: [text] })).losses[0]);
      }
      console.log("perplexity on the sample answers:", perplexity);
      assert.ok(Math.abs(perplexity.ours / perplexity.theirs - 1) <= 0.02, "ours and llama.cpp's");
      assert.ok(Math.abs(perplexity.ours / perplexity.f16 - 1) <= 0.15, "quantised and not: a small model loses much");
    }),
});
