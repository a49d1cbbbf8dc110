/**
 * The metadata that says what model a GGUF file holds, made from its configuration; the tokenizer's is tokenizer_keys.ts.
 * What GGUF cannot say of an architecture is refused here, since llama.cpp would compute something else.
 * Keys: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py
 */
import { UserError } from "../errors.ts";
import type { GgufType, GgufValue, TypedValue } from "../formats/gguf_values.ts";
import type { ModelConfig } from "../model/config.ts";
import { llama3Kept, yarnAttentionFactor } from "../model/rope.ts";
import { type GgufKind, ggufKinds } from "./gguf_kinds.ts";

export type Metadata = [key: string, value: TypedValue][];

/** The architecture's name in GGUF; Mistral is one of llama's models there. */
export function ggufArchitecture(config: ModelConfig): string {
  return config.architecture === "mistral" ? "llama" : config.architecture;
}

export function value(type: GgufType, value: GgufValue): TypedValue {
  return { type, value };
}

/** What says how the matrices are stored. */
export function kindKeys(kind: GgufKind): Metadata {
  return [
    ["general.file_type", value("uint32", ggufKinds[kind].fileType)],
    ["general.quantization_version", value("uint32", 2)],
  ];
}

/** general.* and the architecture's own keys. UserError for a model that llama.cpp would compute differently. */
export function modelKeys(config: ModelConfig, options: { dtype: GgufKind; name: string }): Metadata {
  const architecture = ggufArchitecture(config);
  const count = (key: string, n: number): Metadata[number] => [`${architecture}.${key}`, value("uint32", n)];
  const real = (key: string, x: number): Metadata[number] => [`${architecture}.${key}`, value("float32", x)];
  refuseInexpressible(config);
  return [
    ["general.architecture", value("string", architecture)],
    ["general.type", value("string", "model")],
    ["general.name", value("string", options.name)],
    ...kindKeys(options.dtype),
    count("vocab_size", config.vocabSize),
    count("context_length", config.maxPositions),
    count("embedding_length", config.hiddenSize),
    count("block_count", config.layers),
    count("feed_forward_length", config.intermediateSize),
    count("attention.head_count", config.heads),
    count("attention.head_count_kv", config.kvHeads),
    count("attention.key_length", config.headDim),
    count("attention.value_length", config.headDim),
    real("attention.layer_norm_rms_epsilon", config.rmsEps),
    count("rope.dimension_count", config.headDim),
    real("rope.freq_base", config.rope.theta),
    ...scalingKeys(config, { count, real }),
    ...(config.architecture === "gemma3" ? slidingKeys(config, { count, real }) : []),
  ];
}

type Numbers = Record<"count" | "real", (key: string, x: number) => Metadata[number]>;

/** Llama 3's scaling is a tensor: ropeFactors. */
function scalingKeys(config: ModelConfig, { count, real }: Numbers): Metadata {
  const { scaling } = config.rope;
  if (scaling.type !== "linear" && scaling.type !== "yarn") return [];
  const keys: Metadata = [
    [`${ggufArchitecture(config)}.rope.scaling.type`, value("string", scaling.type)],
    real("rope.scaling.factor", scaling.factor),
  ];
  if (scaling.type === "linear") return keys;
  // llama.cpp multiplies cos and sin by its own factor and by this one.
  const attention = scaling.attentionFactor / yarnAttentionFactor(scaling.factor);
  return [
    ...keys,
    count("rope.scaling.original_context_length", scaling.originalMaxPositions),
    ...(Math.abs(attention - 1) > 1e-6 ? [real("rope.scaling.attn_factor", attention)] : []),
  ];
}

function slidingKeys(config: ModelConfig, { count, real }: Numbers): Metadata {
  if (!config.layerTypes.includes("sliding")) return [];
  return [
    count("attention.sliding_window", config.slidingWindow),
    count("attention.sliding_window_pattern", slidingPeriod(config)!),
    real("rope.freq_base_swa", config.ropeLocal.theta),
  ];
}

/** The n of which every n-th layer is full, the others sliding; undefined when the layers follow no such rule. */
function slidingPeriod({ layers, layerTypes }: ModelConfig): number | undefined {
  for (let period = 1; period <= layers + 1; period++) {
    if (layerTypes.every((type, i) => (type === "full") === ((i + 1) % period === 0))) return period;
  }
  return undefined;
}

function refuseInexpressible(config: ModelConfig): void {
  const refuse = (what: string) => {
    throw new UserError(`Cannot write ${config.name} as GGUF: ${what}`, { hint: "Export it as safetensors." });
  };
  const { scaling } = config.rope;
  // llama.cpp takes these from the command line, never from a file of these architectures.
  if (scaling.type === "yarn" && (scaling.betaFast !== 32 || scaling.betaSlow !== 1 || !scaling.truncate)) {
    const { betaFast, betaSlow, truncate } = scaling;
    refuse(
      `its YaRN scaling has beta_fast ${betaFast}, beta_slow ${betaSlow} and truncate ${truncate}, not 32, 1 and true`,
    );
  }
  if (config.architecture !== "gemma3") return; // A window of other architectures is not known to llama.cpp.
  if (config.layerTypes.includes("sliding") && slidingPeriod(config) === undefined) {
    refuse("its sliding layers follow no fixed period");
  }
  if (config.ropeLocal.scaling.type !== "none") refuse("its sliding layers scale their rotary embedding");
  // llama.cpp knows Gemma 3 27B by its 62 layers and divides by the width per head there.
  const divisor = config.layers === 62 ? config.hiddenSize / config.heads : config.headDim;
  if (Math.abs(config.attentionScale * Math.sqrt(divisor) - 1) > 1e-6) {
    refuse(`its attention scale is ${config.attentionScale}, llama.cpp would use ${1 / Math.sqrt(divisor)}`);
  }
}

/**
 * Divisors of the rotary frequencies [headDim/2], which GGUF stores as tensor rope_freqs.weight; null without scaling.
 * Llama 3.1: wavelengths under original/high stay, those over original/low are divided by `factor`, linear between.
 */
export function ropeFactors(config: ModelConfig): Float32Array | null {
  const { scaling, theta } = config.rope;
  if (scaling.type === "factors") return scaling.factors;
  if (scaling.type !== "llama3") return null;
  return Float32Array.from({ length: config.headDim / 2 }, (_, j) => {
    const kept = llama3Kept(scaling, 2 * Math.PI * theta ** (2 * j / config.headDim));
    return 1 / ((1 - kept) / scaling.factor + kept);
  });
}
