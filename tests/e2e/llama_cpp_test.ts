// The real model, exported and run by real llama.cpp: token ids, distributions, greedy text, merged and with LoRA GGUF.
import assert from "node:assert/strict";
import { fetchModel } from "../../lib/cli/pull.ts";
import { exportGguf } from "../../lib/export/gguf.ts";
import { exportLoraGguf } from "../../lib/export/lora_gguf.ts";
import { type LoraSettings, makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import { renderChat } from "../../lib/text/chat_template.ts";
import { tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
import { assertSameDistributions, compareGreedy, klDivergence } from "../helpers/compare.ts";
import { llamaCpp, llamaCppMissing } from "../helpers/llama_cpp.ts";
import { ourEngine } from "../helpers/our_engine.ts";
import { randomFloats } from "../helpers/random.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { llamaCppStrings } from "../helpers/tokenizers.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`llama_cpp_test: ${missing}`);

/**
 * Prompts whose greedy answers never come near a tie: llama.cpp multiplies F16 weights with activations rounded to F16,
 * which moves logits by up to 0.02; the two likeliest tokens are at least 0.05 apart all the way.
 */
const questions = [
  "What is batik?",
  "What is the capital of France?",
  "List the days of the week and the months of the year.",
];
const texts = ["1, 2, 3, 4, 5,", "def fibonacci(n):\n"];

const settings: LoraSettings = {
  r: 16,
  lora_alpha: 16,
  lora_dropout: 0,
  use_rslora: true,
  use_dora: false,
  target_modules: [...projections],
  init_lora_weights: "hash",
  seed: 0,
};

Deno.test({
  name: "exportGguf() of SmolLM2 in llama.cpp: our token ids, our distributions and greedy tokens; LoRA GGUF as merged",
  ignore: missing !== null,
  fn: () =>
    inTempFolder(async (dir) => {
      const source = openModel(await fetchModel("smollm2-135m")), tokens = source.tokenizer();
      assert.ok(tokens.kind === "gguf");
      const { encode } = tokenizerFromGguf(tokens.metadata, source.path);
      const chat = (content: string) =>
        renderChat(source.chatTemplate!, {
          messages: [{ role: "user", content }],
          addGenerationPrompt: true,
          source: "",
        });
      const prompts = [...questions.map(chat), ...texts].map((text) => encode(text));
      const [base, q8, merged, lora] = ["base", "q8", "merged", "lora"].map((name) => `${dir}/${name}.gguf`);
      exportGguf(base, { source, adapter: null, dtype: "F16" });
      exportGguf(q8, { source, adapter: null, dtype: "Q8_0" });
      const parameters = makeParameters(source.config, settings);
      for (const [i, { name, value }] of parameters.entries()) {
        if (name.includes("lora_B")) value.set(randomFloats(value.length, i).map((x) => x * 0.05));
      }
      exportGguf(merged, { source, adapter: { settings, parameters }, dtype: "F16" });
      exportLoraGguf(lora, { source, adapter: { settings, parameters } });
      source.close();

      const logits = prompts.map((tokens) => ({ tokens }));
      const tokenize = llamaCppStrings.map(({ text }) => text);
      assert.equal(tokenize.length, 200);
      const onBase = await llamaCpp({ gguf: base, logits, tokenize, parseSpecial: true, endTokens: [2] });
      for (const [i, { text, ids }] of llamaCppStrings.entries()) {
        assert.deepEqual(onBase.tokenize[i], ids, JSON.stringify(text));
        assert.deepEqual(encode(text), ids, JSON.stringify(text));
      }
      assert.deepEqual([onBase.bos, onBase.eos, onBase.addsBos, onBase.endTokens], [1, 2, false, [true]]);

      const last = (answer: { logits: Float32Array[][] }) => answer.logits.map(([logits]) => logits);
      const onMerged = await llamaCpp({ gguf: merged, logits }),
        withLora = await llamaCpp({ gguf: base, lora, logits });
      const onQ8 = await llamaCpp({ gguf: q8, logits });
      const change = last(onBase).map((p, i) => klDivergence(p, last(onMerged)[i]));
      assert.ok(Math.min(...change) > 0.01, `the adapter changes too little to be seen: KL ${change}`);
      const ours = { path: source.path, prompts };
      // Q8_0 changes the weights by about 1e-3 nats here; the rest is llama.cpp rounding activations to 8 bits too.
      const kl = {
        lora: assertSameDistributions(last(onMerged), last(withLora), { limit: 1e-3, what: "merged and LoRA GGUF" }),
        q8: assertSameDistributions(last(onBase), last(onQ8), { limit: 5e-2, what: "F16 and Q8_0" }),
        ours: await comparedWithUs({ ...ours, theirs: last(onBase), greedy: base }),
        oursTuned: await comparedWithUs({ ...ours, theirs: last(onMerged), tuned: { settings, parameters } }),
      };
      console.log("largest KL of next-token distributions, in nats:", kl);
    }),
});

/** Our engine on the same prompts: distributions, and with `greedy`, a GGUF file, 64 tokens of each answer. */
async function comparedWithUs(options: {
  path: string;
  prompts: number[][];
  theirs: Float32Array[];
  greedy?: string;
  tuned?: Parameters<typeof ourEngine>[1];
}): Promise<number> {
  const { prompts, greedy } = options, engine = await ourEngine(options.path, options.tuned);
  try {
    const ours = await engine.logits(prompts);
    const kl = assertSameDistributions(ours, options.theirs, { limit: 1e-3, what: "ours and llama.cpp" });
    if (greedy) await compareGreedy({ gguf: greedy, prompts, count: 64, ours: engine.greedy });
    return kl;
  } finally {
    await engine.close();
  }
}
