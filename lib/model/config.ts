/**
 * What a decoder of the Llama family is, as flags: one forward list serves all of them. Parsed from a Hugging Face
 * config.json or from GGUF metadata; everything that is not supported is refused here by name.
 */
import type { Activation } from "../ops.ts";

export type Architecture = "llama" | "mistral" | "qwen2" | "qwen3" | "gemma3";

export type RopeScaling =
  | { type: "none" }
  | { type: "linear"; factor: number }
  | {
    type: "llama3";
    factor: number;
    lowFreqFactor: number;
    highFreqFactor: number;
    originalMaxPositions: number;
  }
  | {
    type: "yarn";
    factor: number;
    originalMaxPositions: number;
    /** Turns within the original context from which frequencies stay, and under which they are divided. */
    betaFast: number;
    betaSlow: number;
    /** Factor of cos and sin. */
    attentionFactor: number;
    /** Whether the range between the two begins and ends at a whole pair. */
    truncate: boolean;
  }
  /** Divisors of the frequencies, as a GGUF file stores llama3 scaling (rope_freqs.weight, [headDim/2]). */
  | { type: "factors"; factors: Float32Array };

export interface Rope {
  theta: number;
  scaling: RopeScaling;
}

export interface ModelConfig {
  architecture: Architecture;
  /** Name to show, e.g. "SmolLM2 135M Instruct". */
  name: string;
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  maxPositions: number;
  rmsEps: number;
  activation: Activation;
  /** Whether lm_head is the embedding table. */
  tied: boolean;
  /** q, k and v have a bias (qwen2). */
  qkvBias: boolean;
  /** RMSNorm over each head of q and k before rope (qwen3, gemma3). */
  qkNorm: boolean;
  /** Norms after attention and after the feed-forward, before the residual (gemma3). */
  postNorms: boolean;
  /** RMSNorm weights are stored minus one in safetensors (gemma3). In memory they are always the full factor. */
  normPlusOne: boolean;
  /** Factor of the embedding, sqrt(hiddenSize) for gemma3, else 1. */
  embeddingScale: number;
  /** Factor of q.k. */
  attentionScale: number;
  /** Rope of full-attention layers. */
  rope: Rope;
  /** Rope of sliding-window layers where it differs (gemma3). */
  ropeLocal: Rope;
  /** Window of sliding layers, in tokens; a query sees keys at distance < window. */
  slidingWindow: number;
  /** One entry a layer. */
  layerTypes: ("full" | "sliding")[];
  bosTokenId: number | null;
  eosTokenIds: number[];
}
