/** A model file on our own CPU engine, for comparison with other programs: greedy ids and logits, weights in f32. */
import { batchValues, makeBatch } from "../../lib/model/batch.ts";
import { attachAdapter, type AttachedAdapter, type LoraSettings } from "../../lib/model/adapter.ts";
import { embedSegment, layerInferenceSegment, logitsSegment } from "../../lib/model/forward.ts";
import { generate } from "../../lib/model/generate.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Parameter } from "../../lib/model/trainable.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";

export interface OurEngine {
  /** Exactly `count` ids after each prompt, end tokens included like any other. */
  greedy(prompts: number[][], count: number): Promise<number[][]>;
  /** Logits [V] after the last token of each prompt. */
  logits(prompts: number[][]): Promise<Float32Array[]>;
  close(): Promise<void>;
}

/** Loads the model, with an adapter beside its weights where one is given. */
export async function ourEngine(
  path: string,
  lora?: { settings: LoraSettings; parameters: Parameter[] },
): Promise<OurEngine> {
  const source = openModel(path), { config } = source, executor = createOnnxExecutor();
  const weights = loadWeights(source, executor, { linear: "f32" });
  source.close();
  const adapter: AttachedAdapter | undefined = lora &&
    await attachAdapter(lora.parameters, { executor, weights, config, settings: lora.settings });
  return {
    async greedy(prompts, count) {
      const rows: number[][] = prompts.map(() => []);
      const options = { maxNewTokens: count, stopIds: [] };
      for await (const { row, token } of generate({ executor, config, weights, adapter }, prompts, options)) {
        rows[row].push(token);
      }
      return rows;
    },
    async logits(prompts) {
      const batch = makeBatch(prompts.map((prompt) => ({
        tokens: Int32Array.from(prompt),
        targets: new Uint8Array(prompt.length),
      })));
      const values = batchValues(executor, batch, config);
      const tokens = executor.tensor(batch.tokens, [batch.tokens.length]);
      let { x } = await executor.run(embedSegment(config), { embed_tokens: weights.embed_tokens, tokens });
      for (const [l, layer] of weights.layers.entries()) {
        const rows = config.layerTypes[l] === "sliding" ? values.sliding : values.full;
        const segment = layerInferenceSegment({ config, loraScale: adapter?.scale ?? 0 });
        x = (await executor.run(segment, { ...layer, ...adapter?.layers[l], ...rows, x })).y;
      }
      let end = 0;
      const last = Int32Array.from(prompts, (prompt) => (end += prompt.length) - 1);
      const index = executor.tensor(last, [last.length]);
      const { norm, lm_head } = weights, V = config.vocabSize;
      const { logits } = await executor.run(logitsSegment(config), { x, index, norm, lm_head });
      const all = await executor.read(logits);
      return prompts.map((_, row) => all.slice(row * V, (row + 1) * V));
    },
    close: () => executor.dispose(),
  };
}
