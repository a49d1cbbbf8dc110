/**
 * A model's configuration as Hugging Face writes it: the content of config.json and generation_config.json for models
 * that came without (from GGUF). The way back of lib/model/parse_config.ts; keys are transformers'.
 */
import { UserError } from "../errors.ts";
import type { ModelConfig, RopeScaling } from "../model/config.ts";
import { ropeFactors } from "./gguf_keys.ts";

const classes: Record<ModelConfig["architecture"], { name: string; type: string }> = {
  llama: { name: "LlamaForCausalLM", type: "llama" },
  mistral: { name: "MistralForCausalLM", type: "mistral" },
  qwen2: { name: "Qwen2ForCausalLM", type: "qwen2" },
  qwen3: { name: "Qwen3ForCausalLM", type: "qwen3" },
  gemma3: { name: "Gemma3ForCausalLM", type: "gemma3_text" },
};

/** config.json. `dtype` is transformers' name of the stored type: "float16". UserError for an unknown rope scaling. */
export function hfConfig(config: ModelConfig, options: { dtype: string }): Record<string, unknown> {
  const { architecture, rope } = config;
  const slides = config.layerTypes.includes("sliding");
  return {
    architectures: [classes[architecture].name],
    model_type: classes[architecture].type,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.rmsEps,
    tie_word_embeddings: config.tied,
    rope_theta: rope.theta,
    rope_scaling: ropeScaling(config),
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds,
    ...(architecture === "gemma3"
      ? {
        hidden_activation: "gelu_pytorch_tanh",
        query_pre_attn_scalar: Math.round(config.attentionScale ** -2), // transformers insists on an integer
        rope_local_base_freq: config.ropeLocal.theta,
        sliding_window: slides ? config.slidingWindow : null,
        layer_types: config.layerTypes.map((type) => `${type}_attention`),
        attention_bias: false,
      }
      : { hidden_act: "silu" }),
    ...(architecture === "mistral" ? { sliding_window: slides ? config.slidingWindow : null } : {}),
    ...(architecture === "llama" || architecture === "qwen3" ? { attention_bias: false } : {}),
    dtype: options.dtype,
    torch_dtype: options.dtype, // The older name of the same, for readers before transformers 5.
  };
}

/** generation_config.json: where a text begins and ends. */
export function hfGenerationConfig(config: ModelConfig): Record<string, unknown> {
  return { _from_model_config: true, bos_token_id: config.bosTokenId, eos_token_id: config.eosTokenIds };
}

function ropeScaling(config: ModelConfig): Record<string, unknown> | null {
  const scaling = config.rope.scaling;
  if (scaling.type === "none") return null;
  if (scaling.type === "linear") return { rope_type: "linear", type: "linear", factor: scaling.factor };
  if (scaling.type === "yarn") {
    return {
      rope_type: "yarn",
      type: "yarn",
      factor: scaling.factor,
      original_max_position_embeddings: scaling.originalMaxPositions,
      beta_fast: scaling.betaFast,
      beta_slow: scaling.betaSlow,
      attention_factor: scaling.attentionFactor,
      truncate: scaling.truncate,
    };
  }
  const llama3 = scaling.type === "llama3" ? scaling : llama3Scaling(config, scaling.factors);
  return {
    rope_type: "llama3",
    factor: llama3.factor,
    low_freq_factor: llama3.lowFreqFactor,
    high_freq_factor: llama3.highFreqFactor,
    original_max_position_embeddings: llama3.originalMaxPositions,
  };
}

/** The settings behind GGUF's list of divisors, where they are Llama 3.1's, 3.2's or 3.3's: only the factor varies. */
function llama3Scaling(config: ModelConfig, factors: Float32Array): Extract<RopeScaling, { type: "llama3" }> {
  const factor = factors.reduce((largest, x) => Math.max(largest, x), 1);
  const scaling = { type: "llama3", factor, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 } as const;
  const expected = ropeFactors({ ...config, rope: { ...config.rope, scaling } })!;
  if (expected.every((x, i) => Math.abs(x - factors[i]) <= 1e-4 * x)) return scaling;
  throw new UserError(`Cannot say the rotary scaling of ${config.name} in config.json: its factors are not Llama 3's`, {
    hint: "Export it as GGUF.",
  });
}
