// Tiny models of every architecture, exported and run by real llama.cpp, against PyTorch and PEFT.
import assert from "node:assert/strict";
import { exportGguf } from "../../lib/export/gguf.ts";
import { exportLoraGguf } from "../../lib/export/lora_gguf.ts";
import { openModel } from "../../lib/model/source.ts";
import { tokenizerFromJson } from "../../lib/text/tokenizer.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenModels, readExpected } from "../helpers/golden_models.ts";
import { llamaCpp, llamaCppMissing } from "../helpers/llama_cpp.ts";
import { goldenAdapter, makeTinyFolder } from "../helpers/tiny_folders.ts";
import { llamaCppStrings } from "../helpers/tokenizers.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`llama_cpp_tiny_test: ${missing}`);
const place = Deno.makeTempDirSync({ prefix: "llama_cpp_tiny_" });
globalThis.addEventListener("unload", () => Deno.removeSync(place, { recursive: true }));

/** llama.cpp gives Mistral no window: within the first `sliding_window` tokens there is no difference. */
const comparedTokens: Record<string, number> = { mistral: 8 };

for (const name of goldenModels) {
  Deno.test({
    name:
      `exportGguf() of ${name} gives PyTorch's logits in llama.cpp, the golden loss merged and as LoRA, and our token ids`,
    ignore: missing !== null,
    fn: async () => {
      const folder = makeTinyFolder(name, place), source = openModel(folder), adapter = goldenAdapter(name);
      const [base, merged, lora] = ["base", "merged", "lora"].map((kind) => `${place}/${name}.${kind}.gguf`);
      exportGguf(base, { source, adapter: null, dtype: "F32" });
      exportGguf(merged, { source, adapter, dtype: "F32" });
      exportLoraGguf(lora, { source, adapter });

      const expected = readExpected(name), { data: logits, shape: [B, L, V] } = expected.get("logits")!;
      const ids = expected.get("input_ids")!.data, labels = expected.get("labels")!.data;
      const mask = expected.get("attention_mask")!.data;
      const rows = Array.from({ length: B }, (_, b) => {
        const real = mask.subarray(b * L, (b + 1) * L).reduce((sum, x) => sum + x, 0);
        const length = Math.min(real, comparedTokens[name] ?? L);
        const part = (x: Float32Array) => [...x.subarray(b * L, b * L + length)];
        return { tokens: part(ids), labels: part(labels), positions: Array.from({ length }, (_, l) => l) };
      });
      // F32 all through, so that only the orders of summation differ; but llama.cpp looks up Gemma's GELU in a table of
      // half precision.
      const rtol = name === "gemma3" ? 1e-3 : 1e-4;
      const tokenizer = source.tokenizer();
      assert.ok(tokenizer.kind === "json");
      const { encode } = tokenizerFromJson(tokenizer.files), pre = JSON.parse(tokenizer.files.tokenizerJson).normalizer;
      const isNfc = JSON.stringify(pre ?? "").includes("NFC");
      // llama.cpp has no Unicode normalisation: Qwen's NFC is compared on texts that are composed already.
      const texts = llamaCppStrings.map(({ text }) => text).filter((text) => !isNfc || text.normalize("NFC") === text);

      const answer = await llamaCpp({ gguf: base, exact: true, logits: rows, tokenize: texts, parseSpecial: true });
      for (const [i, text] of texts.entries()) assert.deepEqual(answer.tokenize[i], encode(text), JSON.stringify(text));
      for (const [b, { positions }] of rows.entries()) {
        for (const l of positions) {
          const at = (b * L + l) * V;
          assertClose(answer.logits[b][l], logits.subarray(at, at + V), { rtol, what: `row ${b}, token ${l}` });
        }
      }

      const onMerged = await llamaCpp({ gguf: merged, exact: true, logits: rows });
      const withLora = await llamaCpp({ gguf: base, lora, exact: true, logits: rows });
      for (const [b, { positions }] of rows.entries()) {
        for (const l of positions) {
          assertClose(withLora.logits[b][l], onMerged.logits[b][l], { rtol, what: `LoRA, row ${b}, token ${l}` });
        }
      }
      if (!(name in comparedTokens)) {
        for (const { logits } of [onMerged, withLora]) {
          const losses = rows.flatMap(({ labels }, b) =>
            labels.flatMap((label, l) => l > 0 && label >= 0 ? [crossEntropy(logits[b][l - 1], label)] : [])
          );
          const mean = losses.reduce((sum, x) => sum + x, 0) / losses.length;
          assertClose([mean], expected.get("loss")!.data, { rtol: rtol / 10, what: "loss" });
        }
      }
      source.close();
    },
  });
}

function crossEntropy(logits: Float32Array, target: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0)) + largest - logits[target];
}
