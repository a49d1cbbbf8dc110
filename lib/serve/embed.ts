/** A prompt as one vector: the mean of the final, normed hidden states of its tokens, of length 1. */
import { batchValues, makeBatch, releaseBatch } from "../model/batch.ts";
import type { Generator } from "../model/decode.ts";
import { embedSegment, layerInferenceSegment } from "../model/forward.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Segment } from "../ops.ts";

function normSegment(config: ModelConfig): Segment {
  return {
    key: "final_norm",
    build: (ops, { x, norm }) => ({ y: ops.rmsNorm(x, norm, { eps: config.rmsEps }) }),
  };
}

export async function embedPrompt(
  { executor, config, weights, adapter }: Generator,
  prompt: Int32Array,
): Promise<Float32Array> {
  const batch = makeBatch([{ tokens: prompt, targets: new Uint8Array(prompt.length) }]);
  const shared = batchValues(executor, batch, config), tokens = executor.tensor(batch.tokens, [prompt.length]);
  let { x } = await executor.run(embedSegment(config), { embed_tokens: weights.embed_tokens, tokens });
  const segment = layerInferenceSegment({ config, loraScale: adapter?.scale ?? 0 });
  for (const [l, layer] of weights.layers.entries()) {
    const batch = config.layerTypes[l] === "sliding" ? shared.sliding : shared.full;
    const { y } = await executor.run(segment, { ...layer, ...adapter?.layers[l], ...batch, x });
    executor.release(x);
    x = y;
  }
  const { y } = await executor.run(normSegment(config), { x, norm: weights.norm });
  const mean = new Float64Array(config.hiddenSize);
  (await executor.read(y)).forEach((value, i) => mean[i % mean.length] += value / prompt.length);
  executor.release(x, y, tokens);
  releaseBatch(executor, shared);
  const length = Math.hypot(...mean);
  return Float32Array.from(mean, (value) => length > 0 ? value / length : 0);
}
