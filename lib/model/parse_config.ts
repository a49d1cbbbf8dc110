/**
 * Model configuration from a Hugging Face config.json (transformers 4 and 5 spellings). The same from GGUF stands in
 * parse_gguf_config.ts.
 *
 * What a supported architecture can say but this program does not compute is refused by name; fields that do not change
 * the forward pass are ignored. Defaults are those of transformers' configuration classes.
 */
import { UserError } from "../errors.ts";
import { type Fields, isObject, readFields, show } from "./config_fields.ts";
import type { Architecture, ModelConfig } from "./config.ts";
import { ropes } from "./parse_rope.ts";
import { ropeTables } from "./rope.ts";

type Json = Record<string, unknown>;

const modelTypes: Record<string, Architecture> = {
  llama: "llama",
  mistral: "mistral",
  qwen2: "qwen2",
  qwen3: "qwen3",
  gemma3_text: "gemma3",
};

/** Which flags follow from the architecture alone. */
export function architectureFlags(architecture: Architecture) {
  return {
    activation: architecture === "gemma3" ? "gelu_tanh" as const : "silu" as const,
    qkvBias: architecture === "qwen2",
    qkNorm: architecture === "qwen3" || architecture === "gemma3",
    postNorms: architecture === "gemma3",
    normPlusOne: architecture === "gemma3",
  };
}

/**
 * The configuration in a parsed config.json. `generationConfig` (generation_config.json) overrides the end-of-text ids.
 * `source` is the path of config.json, for errors; `name` is what to call the model.
 */
export function configFromHf(
  json: unknown,
  options: { source: string; name?: string; generationConfig?: unknown },
): ModelConfig {
  const { source } = options;
  if (!isObject(json)) {
    throw new UserError(`${source}: expected a JSON object, found ${show(json)}`, {
      hint: "fetch or copy the file again",
    });
  }
  const architecture = architectureOf(json, source);
  const fields = readFields((key) => json[key], { source });
  refuseOtherHeads(json, source);
  refuseQuantized(json, source);
  refuseUnsupported(fields, architecture);

  const hiddenSize = fields.count("hidden_size", { max: 1 << 20 });
  const heads = fields.count("num_attention_heads", { max: 1 << 16 });
  const layers = fields.count("num_hidden_layers", { max: 10_000 });
  const headDimDefault = { llama: hiddenSize / heads, mistral: hiddenSize / heads, qwen2: hiddenSize / heads };
  const headDim = fields.count("head_dim", {
    fallback: { ...headDimDefault, qwen3: 128, gemma3: 256 }[architecture],
    max: 1 << 16,
  });
  const generation = isObject(options.generationConfig) ? options.generationConfig : {};
  const eos = readFields((key) => generation[key] ?? json[key], { source }).ids("eos_token_id");
  const { rope, ropeLocal } = ropes(fields, architecture);
  const config: ModelConfig = {
    architecture,
    name: options.name ?? fields.text("_name_or_path", { fallback: architecture }),
    vocabSize: fields.count("vocab_size", { max: 1 << 24 }),
    hiddenSize,
    intermediateSize: fields.count("intermediate_size", { max: 1 << 24 }),
    layers,
    heads,
    kvHeads: fields.count("num_key_value_heads", { fallback: architecture === "llama" ? heads : undefined }),
    headDim,
    maxPositions: fields.count("max_position_embeddings", { fallback: 2048 }),
    rmsEps: fields.positive("rms_norm_eps", { fallback: 1e-6 }),
    ...architectureFlags(architecture),
    tied: fields.flag("tie_word_embeddings", { fallback: architecture === "gemma3" }),
    embeddingScale: architecture === "gemma3" ? Math.sqrt(hiddenSize) : 1,
    attentionScale: 1 / Math.sqrt(
      architecture === "gemma3" ? fields.positive("query_pre_attn_scalar", { fallback: 256 }) : headDim,
    ),
    rope,
    ropeLocal,
    ...sliding(fields, architecture, layers),
    bosTokenId: fields.ids("bos_token_id")[0] ?? null,
    eosTokenIds: eos,
  };
  checkConfig(config, fields);
  fields.finish();
  return config;
}

function architectureOf(json: Json, source: string): Architecture {
  const type = json.model_type;
  const known = Object.keys(modelTypes);
  if (typeof type === "string" && Object.hasOwn(modelTypes, type)) return modelTypes[type];
  if (type === "gemma3") {
    throw new UserError(`${source}: model_type is "gemma3", a Gemma 3 with an image encoder`, {
      hint: 'use a text-only Gemma 3, whose model_type is "gemma3_text" (270M, 1B)',
    });
  }
  throw new UserError(
    `${source}: ${type === undefined ? "model_type is missing" : `unknown model_type ${show(type)}`}`,
    { hint: `supported are ${known.join(", ")}` },
  );
}

/** The same layers are used for embeddings, rewards and classes, with other weights at the end. */
function refuseOtherHeads({ architectures }: Json, source: string): void {
  if (!Array.isArray(architectures) || architectures.length === 0) return;
  if (architectures.some((name) => /ForCausalLM$/i.test(String(name)))) return;
  throw new UserError(`${source}: architectures is ${show(architectures[0])}, not a model that writes text`, {
    hint: "take one whose architectures end in ForCausalLM: models for embeddings, rewards or classes have no head",
  });
}

function refuseUnsupported(fields: Fields, architecture: Architecture): void {
  const refuse = (key: string, harmless: (value: unknown) => boolean) => {
    if (fields.has(key) && !harmless(fields.raw(key))) {
      fields.problem(`${key} ${show(fields.raw(key))} is not supported for ${architecture}`);
    }
  };
  const activations = architecture === "gemma3" ? ["gelu_pytorch_tanh"] : ["silu", "swish"];
  refuse(architecture === "gemma3" ? "hidden_activation" : "hidden_act", (act) => activations.includes(act as string));
  // Qwen 2 has its biases without saying so; where this key is true, o_proj would have one too.
  refuse("attention_bias", (value) => value === false);
  refuse("mlp_bias", (value) => value === false);
  refuse("attn_logit_softcapping", () => false);
  refuse("final_logit_softcapping", () => false);
  refuse("use_bidirectional_attention", (value) => value === false);
  refuse("partial_rotary_factor", (value) => value === 1);
  refuse("num_local_experts", (value) => value === 0 || value === 1);
}

/** Of quantised checkpoints only bitsandbytes' 4-bit ones are read; the others are refused by their own name. */
function refuseQuantized(json: Json, source: string): void {
  const key = ["quantization_config", "compression_config", "quantization"].find((key) => isPresent(json[key]));
  if (key === undefined) return;
  const quantization = json[key];
  const { quant_method: method, load_in_8bit: int8 } = isObject(quantization) ? quantization : {};
  if (method === "bitsandbytes" && int8 !== true) return;
  // MLX writes bits and group_size, and no name.
  const what = method === "bitsandbytes"
    ? '"bitsandbytes" in 8 bits (LLM.int8)'
    : method === undefined && "quantization" in json
    ? "MLX"
    : show(method);
  throw new UserError(`${source}: weights quantised by ${what} are not read (${key})`, {
    hint: "take the same model in 16 bits, as bitsandbytes 4-bit (bnb-4bit), or as a GGUF file",
  });
}

const isPresent = (value: unknown) => value !== undefined && value !== null;

/** Which layers attend only to a window, and how wide it is. */
function sliding(fields: Fields, architecture: Architecture, layers: number) {
  const full = (layerTypes: ModelConfig["layerTypes"]) => ({ slidingWindow: 0, layerTypes });
  const every = (type: "full" | "sliding") => new Array<"full" | "sliding">(layers).fill(type);
  const qwen = architecture === "qwen2" || architecture === "qwen3";
  const used = architecture !== "llama" && fields.has("sliding_window") &&
    (!qwen || fields.flag("use_sliding_window", { fallback: false }));
  if (!used) return full(every("full"));
  const slidingWindow = fields.count("sliding_window");
  return { slidingWindow, layerTypes: layerTypes(fields, architecture, layers) ?? every("sliding") };
}

function layerTypes(fields: Fields, architecture: Architecture, layers: number): ModelConfig["layerTypes"] | undefined {
  const listed = fields.raw("layer_types");
  if (Array.isArray(listed)) {
    const names: Record<string, "full" | "sliding"> = { full_attention: "full", sliding_attention: "sliding" };
    const unknown = listed.find((type) => !Object.hasOwn(names, type));
    if (unknown !== undefined) fields.problem(`layer_types holds ${show(unknown)}, which is not supported`);
    if (listed.length !== layers) {
      fields.problem(`layer_types has ${listed.length} entries, num_hidden_layers is ${layers}`);
    }
    return listed.map((type) => Object.hasOwn(names, type) ? names[type] : "full");
  }
  const list = (isFull: (layer: number) => boolean) =>
    Array.from({ length: layers }, (_, layer) => isFull(layer) ? "full" as const : "sliding" as const);
  if (architecture === "gemma3") {
    const pattern = fields.has("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern";
    const period = fields.count(pattern, { fallback: 6 });
    return list((layer) => (layer + 1) % period === 0);
  }
  if (architecture === "mistral") return undefined;
  const first = fields.count("max_window_layers", { fallback: 28 });
  return list((layer) => layer < first);
}

/** Contradictions between fields, whatever file they came from. */
export function checkConfig(config: ModelConfig, fields: Fields): void {
  const { heads, kvHeads, headDim } = config;
  if (heads % kvHeads !== 0) fields.problem(`${heads} query heads cannot be shared by ${kvHeads} key/value heads`);
  if (headDim % 2 !== 0) fields.problem(`head size ${headDim} is odd, which rotary embedding cannot use`);
  else if (
    ![config.rope, config.ropeLocal].every((rope) => ropeTables(rope, headDim, [1]).cos.every(Number.isFinite))
  ) {
    fields.problem("the rotary embedding (rope) gives numbers that are not finite");
  }
  for (const id of [...config.eosTokenIds, config.bosTokenId ?? 0]) {
    if (id >= config.vocabSize) fields.problem(`token id ${id} is outside the vocabulary of ${config.vocabSize}`);
  }
}
