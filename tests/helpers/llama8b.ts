/** The shape of Llama 3.1 8B with random NF4 weights: speed and memory of a real size without its file. */
import type { ModelConfig } from "../../lib/model/config.ts";
import { modelTensors } from "../../lib/model/names.ts";
import type { LoadedWeights } from "../../lib/model/weights.ts";
import type { Executor, Value } from "../../lib/ops.ts";

export const llama8b: ModelConfig = {
  architecture: "llama",
  name: "Llama 3.1 8B",
  vocabSize: 128256,
  hiddenSize: 4096,
  intermediateSize: 14336,
  layers: 32,
  heads: 32,
  kvHeads: 8,
  headDim: 128,
  maxPositions: 131072,
  rmsEps: 1e-5,
  activation: "silu",
  tied: false,
  qkvBias: false,
  qkNorm: false,
  postNorms: false,
  normPlusOne: false,
  embeddingScale: 1,
  attentionScale: 128 ** -0.5,
  rope: { theta: 500000, scaling: { type: "none" } },
  ropeLocal: { theta: 500000, scaling: { type: "none" } },
  slidingWindow: Infinity,
  layerTypes: Array.from({ length: 32 }, () => "full" as const),
  bosTokenId: 128000,
  eosTokenIds: [128001],
};

/** Random bytes enough for the largest projection; every weight takes a part of them from another place on. */
function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let start = 0; start < count; start += 65536) {
    crypto.getRandomValues(bytes.subarray(start, Math.min(count, start + 65536)));
  }
  return bytes;
}

/** Weights of about the deviation 0.02, codes uniform; embedding and head random too. */
export function randomWeights(executor: Executor, config: ModelConfig): LoadedWeights {
  const largest = config.intermediateSize * config.hiddenSize;
  const codes = randomBytes(largest / 2 + 4096), absmaxCodes = randomBytes(largest / 64 + 4096);
  const dense = new Float32Array(config.vocabSize * config.hiddenSize);
  for (let i = 0; i < 1 << 20; i++) dense[i] = 0.04 * (codes[i] / 255 - 0.5);
  for (let filled = 1 << 20; filled < dense.length; filled *= 2) {
    dense.copyWithin(filled, 0, Math.min(filled, dense.length - filled));
  }
  const whole: Record<string, Value> = {},
    layers = Array.from({ length: config.layers }, (): Record<string, Value> => ({}));
  modelTensors(config).forEach(({ key, role, shape, layer }, i) => {
    const count = shape.reduce((a, b) => a * b, 1), from = (i * 64) % 4096;
    const value = role === "linear"
      ? executor.weight({
        kind: "nf4",
        shape: shape as [number, number],
        packed: codes.subarray(from, from + count / 2),
        absmax: {
          codes: absmaxCodes.subarray(from, from + count / 64),
          nestedAbsmax: new Float32Array(Math.ceil(count / 64 / 256)).fill(0.01),
          offset: 0.03,
        },
      })
      : shape.length === 2
      ? executor.weight({ kind: "f32", shape: shape as [number, number], data: dense })
      : executor.tensor(new Float32Array(count).fill(1), shape);
    if (layer === undefined) whole[key] = value;
    else layers[layer][key] = value;
  });
  const { embed_tokens, norm, lm_head = embed_tokens } = whole;
  return { embed_tokens, norm, lm_head, layers };
}
