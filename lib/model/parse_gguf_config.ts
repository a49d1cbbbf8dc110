/**
 * Model configuration from GGUF metadata, as llama.cpp's converter writes it and llama.cpp reads it.
 *
 * GGUF says less than config.json: whether the head is tied, and llama3's rope factors, show only in the tensors. Floats
 * are f32 there and are read back as the decimal number that was meant (1e-5, not 9.99999975e-6).
 */
import { UserError } from "../errors.ts";
import { type Fields, readFields, show } from "./config_fields.ts";
import type { Architecture, ModelConfig, Rope, RopeScaling } from "./config.ts";
import { architectureFlags, checkConfig } from "./parse_config.ts";
import { yarnAttentionFactor } from "./rope.ts";

/** Mistral files say "llama"; the two differ only in a window, which is a key of its own. */
const architectures: Architecture[] = ["llama", "qwen2", "qwen3", "gemma3"];

/** llama.cpp's own defaults for Gemma 3: every sixth layer is full, sliding layers turn with base 10000. */
const gemma3Period = 6;

/**
 * The configuration in a file's metadata. `tensors` are the file's, by GGUF name; `ropeFactors` is the content of
 * rope_freqs.weight where the file has it, [headDim/2]. `source` is the file's path, for errors.
 */
export function configFromGguf(
  metadata: ReadonlyMap<string, unknown>,
  options: { source: string; tensors: ReadonlyMap<string, { shape: number[] }>; ropeFactors?: Float32Array },
): ModelConfig {
  const { source, tensors } = options;
  const architecture = ggufArchitecture(metadata, source);
  // Keys of the architecture are asked for by their last part; the error spells them out.
  const whole = (key: string) => /^(general|tokenizer)\./.test(key) ? key : `${architecture}.${key}`;
  const fields = readFields((key) => decimal(metadata.get(whole(key))), { source: `${source} (${architecture}.*)` });
  refuseUnsupported(fields);

  const hiddenSize = fields.count("embedding_length", { max: 1 << 20 });
  const heads = fields.count("attention.head_count", { max: 1 << 16 });
  const layers = fields.count("block_count", { max: 10_000 });
  const headDim = fields.count("attention.key_length", { fallback: hiddenSize / heads, max: 1 << 16 });
  for (const key of ["attention.value_length", "rope.dimension_count"]) {
    if (fields.has(key) && fields.raw(key) !== headDim) {
      fields.problem(`${key} is ${show(fields.raw(key))}, expected the head size ${headDim}`);
    }
  }
  const embedding = tensors.get("token_embd.weight");
  const { rope, ropeLocal } = ropes(fields, { architecture, headDim, factors: options.ropeFactors });
  const eos = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"].flatMap((key) => fields.ids(key));
  const config: ModelConfig = {
    architecture,
    name: fields.text("general.name", {
      fallback: source.slice(source.lastIndexOf("/") + 1).replace(/(-\d{5}-of-\d{5})?\.gguf$/, ""),
    }),
    vocabSize: embedding ? embedding.shape[0] : fields.count("vocab_size"),
    hiddenSize,
    intermediateSize: fields.count("feed_forward_length", { max: 1 << 24 }),
    layers,
    heads,
    kvHeads: fields.count("attention.head_count_kv", { fallback: heads }),
    headDim,
    maxPositions: fields.count("context_length"),
    rmsEps: fields.positive("attention.layer_norm_rms_epsilon"),
    ...architectureFlags(architecture),
    tied: !tensors.has("output.weight"),
    embeddingScale: architecture === "gemma3" ? Math.sqrt(hiddenSize) : 1,
    attentionScale: attentionScale(fields, { architecture, layers, headDim, perHead: hiddenSize / heads }),
    rope,
    ropeLocal,
    ...sliding(fields, { architecture, layers }),
    bosTokenId: fields.ids("tokenizer.ggml.bos_token_id")[0] ?? null,
    eosTokenIds: [...new Set(eos)],
  };
  checkConfig(config, fields);
  fields.finish();
  return config;
}

/** The architecture that a file says it has. UserError for one that is not computed here, and for what is no model. */
export function ggufArchitecture(metadata: ReadonlyMap<string, unknown>, source: string): Architecture {
  const type = metadata.get("general.type");
  if (type !== undefined && type !== "model") {
    throw new UserError(`${source}: general.type is ${show(type)}, not a model`, {
      hint: "give the base model's file here, and an adapter as an adapter",
    });
  }
  const found = metadata.get("general.architecture");
  if (architectures.includes(found as Architecture)) return found as Architecture;
  throw new UserError(
    `${source}: ${found === undefined ? "general.architecture is missing" : `unknown architecture ${show(found)}`}`,
    { hint: `supported are ${architectures.join(", ")} (mistral files say llama)` },
  );
}

function refuseUnsupported(fields: Fields): void {
  for (const key of ["expert_count", "attn_logit_softcapping", "final_logit_softcapping"]) {
    if (fields.has(key) && fields.raw(key) !== 0) fields.problem(`${key} ${show(fields.raw(key))} is not supported`);
  }
}

function ropes(
  fields: Fields,
  { architecture, headDim, factors }: { architecture: Architecture; headDim: number; factors?: Float32Array },
): { rope: Rope; ropeLocal: Rope } {
  // llama.cpp takes a factor without a type as linear, and an older key for it.
  const factorKey = fields.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  const type = fields.text("rope.scaling.type", { fallback: fields.has(factorKey) ? "linear" : "none" });
  let scaling: RopeScaling = { type: "none" };
  if (factors) {
    scaling = { type: "factors", factors };
    if (factors.length !== headDim / 2) {
      fields.problem(`rope_freqs.weight has ${factors.length} elements, expected ${headDim / 2}`);
    }
    const bad = factors.findIndex((factor) => !(factor > 0 && factor < Infinity));
    if (bad >= 0) fields.problem(`rope_freqs.weight[${bad}] is ${factors[bad]}, expected a number above 0`);
  } else if (type === "linear") {
    const factor = fields.positive(factorKey);
    if (factor !== 1) scaling = { type: "linear", factor };
  } else if (type === "yarn") scaling = yarn(fields);
  else if (type !== "none") fields.problem(`rope.scaling.type "${type}" is not supported (none, linear, yarn are)`);

  const rope = {
    theta: fields.positive("rope.freq_base", { fallback: architecture === "gemma3" ? 1e6 : 1e4 }),
    scaling,
  };
  if (architecture !== "gemma3") return { rope, ropeLocal: rope };
  return {
    rope,
    ropeLocal: { theta: fields.positive("rope.freq_base_swa", { fallback: 1e4 }), scaling: { type: "none" } },
  };
}

/** llama.cpp multiplies its own factor of cos and sin by the file's. */
function yarn(fields: Fields): RopeScaling {
  const factor = fields.positive("rope.scaling.factor");
  const original = "rope.scaling.original_context_length";
  if (fields.has("rope.scaling.yarn_log_multiplier") && fields.raw("rope.scaling.yarn_log_multiplier") !== 0) {
    fields.problem("rope.scaling.yarn_log_multiplier is not supported");
  }
  return {
    type: "yarn",
    factor,
    originalMaxPositions: fields.count(fields.has(original) ? original : "context_length"),
    betaFast: fields.positive("rope.scaling.yarn_beta_fast", { fallback: 32 }),
    betaSlow: fields.positive("rope.scaling.yarn_beta_slow", { fallback: 1 }),
    attentionFactor: fields.positive("rope.scaling.attn_factor", { fallback: 1 }) * yarnAttentionFactor(factor),
    truncate: true,
  };
}

/** As llama.cpp: 1/sqrt(head size), but for Gemma 3 27B, known by its 62 layers, 1/sqrt(width per head). */
function attentionScale(
  fields: Fields,
  options: { architecture: Architecture; layers: number; headDim: number; perHead: number },
): number {
  if (fields.has("attention.scale") && fields.raw("attention.scale") !== 0) return fields.positive("attention.scale");
  const is27B = options.architecture === "gemma3" && options.layers === 62;
  return 1 / Math.sqrt(is27B ? options.perHead : options.headDim);
}

function sliding(fields: Fields, { architecture, layers }: { architecture: Architecture; layers: number }) {
  const list = (isFull: (layer: number) => boolean) =>
    Array.from({ length: layers }, (_, layer) => isFull(layer) ? "full" as const : "sliding" as const);
  if (!fields.has("attention.sliding_window") || fields.raw("attention.sliding_window") === 0) {
    return { slidingWindow: 0, layerTypes: list(() => true) };
  }
  const slidingWindow = fields.count("attention.sliding_window");
  if (architecture !== "gemma3") return { slidingWindow, layerTypes: list(() => false) };
  const pattern = fields.raw("attention.sliding_window_pattern");
  if (Array.isArray(pattern) || ArrayBuffer.isView(pattern)) {
    const slides = Array.from(pattern as ArrayLike<unknown>, Boolean);
    if (slides.length !== layers) {
      fields.problem(`attention.sliding_window_pattern has ${slides.length} entries, expected ${layers}`);
    }
    return { slidingWindow, layerTypes: list((layer) => !slides[layer]) };
  }
  const period = fields.count("attention.sliding_window_pattern", { fallback: gemma3Period });
  return { slidingWindow, layerTypes: list((layer) => (layer + 1) % period === 0) };
}

/** The shortest decimal number that is this f32; other values as they are, bigint as a number. */
function decimal(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "number" || Number.isInteger(value) || !Number.isFinite(value)) return value;
  for (let digits = 6; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
