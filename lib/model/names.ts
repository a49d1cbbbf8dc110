/**
 * What the tensors of a model are called and how large they are: Hugging Face, GGUF and PEFT names side by side.
 *
 * Pure tables, no files. Shapes are row-major, outermost first, a projection being [outputs, inputs]. Weight keys are
 * the last part of Hugging Face's module name, and are the keys of a layer's record of values.
 */
import type { ModelConfig } from "./config.ts";

/** The projections of a layer, in the order in which parameters and records list them. */
export const projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

export type Projection = typeof projections[number];

export type LoraPart = "lora_A" | "lora_B" | "lora_magnitude_vector";

export interface ModelTensor {
  /** Hugging Face's name. */
  name: string;
  gguf: string;
  shape: number[];
  role: "embedding" | "norm" | "linear" | "bias" | "head";
  /** Key in a layer's record ("q_proj", "q_proj.bias", "input_layernorm"), or of the whole model ("norm"). */
  key: string;
  /** Absent for tensors of the whole model. */
  layer?: number;
  /**
   * Rows of q and k lie pairwise interleaved within each head in GGUF files of the llama family (the rotary layout of
   * the original LLaMA code); Hugging Face and this program keep the two halves apart.
   */
  interleavedInGguf?: boolean;
}

const ggufProjections: Record<Projection, string> = {
  q_proj: "attn_q",
  k_proj: "attn_k",
  v_proj: "attn_v",
  o_proj: "attn_output",
  gate_proj: "ffn_gate",
  up_proj: "ffn_up",
  down_proj: "ffn_down",
};

/** Hugging Face's module of a projection: "model.layers.0.self_attn.q_proj". */
export function moduleName(layer: number, projection: Projection): string {
  const block = ["gate_proj", "up_proj", "down_proj"].includes(projection) ? "mlp" : "self_attn";
  return `model.layers.${layer}.${block}.${projection}`;
}

/** GGUF's tensor of a projection: "blk.0.attn_q.weight". */
export function ggufProjectionName(layer: number, projection: Projection): string {
  return `blk.${layer}.${ggufProjections[projection]}.weight`;
}

/** Shape [outputs, inputs] of a projection. */
export function projectionShape(config: ModelConfig, projection: Projection): [number, number] {
  const { hiddenSize: D, intermediateSize: F, headDim: S, heads: H, kvHeads: G } = config;
  const shapes: Record<Projection, [number, number]> = {
    q_proj: [H * S, D],
    k_proj: [G * S, D],
    v_proj: [G * S, D],
    o_proj: [D, H * S],
    gate_proj: [F, D],
    up_proj: [F, D],
    down_proj: [D, F],
  };
  return shapes[projection];
}

/** Every tensor of a model, in the order of a forward pass: embedding, layers, final norm, head unless tied. */
export function modelTensors(config: ModelConfig): ModelTensor[] {
  const { hiddenSize: D, vocabSize: V } = config;
  const tensors: ModelTensor[] = [
    {
      name: "model.embed_tokens.weight",
      gguf: "token_embd.weight",
      shape: [V, D],
      role: "embedding",
      key: "embed_tokens",
    },
  ];
  for (let layer = 0; layer < config.layers; layer++) tensors.push(...layerTensors(config, layer));
  tensors.push({ name: "model.norm.weight", gguf: "output_norm.weight", shape: [D], role: "norm", key: "norm" });
  if (!config.tied) {
    tensors.push({ name: "lm_head.weight", gguf: "output.weight", shape: [V, D], role: "head", key: "lm_head" });
  }
  return tensors;
}

function layerTensors(config: ModelConfig, layer: number): ModelTensor[] {
  const llamaFamily = config.architecture === "llama" || config.architecture === "mistral";
  const norm = (module: string, gguf: string, size: number): ModelTensor => ({
    name: `model.layers.${layer}.${module}.weight`,
    gguf: `blk.${layer}.${gguf}.weight`,
    shape: [size],
    role: "norm",
    key: module.slice(module.lastIndexOf(".") + 1),
    layer,
  });
  const linear = projections.flatMap((projection): ModelTensor[] => {
    const shape = projectionShape(config, projection), module = moduleName(layer, projection);
    const interleavedInGguf = llamaFamily && (projection === "q_proj" || projection === "k_proj");
    const common = { layer, interleavedInGguf };
    const gguf = ggufProjectionName(layer, projection);
    const weight: ModelTensor = { ...common, name: `${module}.weight`, gguf, shape, role: "linear", key: projection };
    if (!config.qkvBias || !["q_proj", "k_proj", "v_proj"].includes(projection)) return [weight];
    return [weight, {
      ...common,
      name: `${module}.bias`,
      gguf: gguf.replace(/weight$/, "bias"),
      shape: [shape[0]],
      role: "bias",
      key: `${projection}.bias`,
    }];
  });
  const D = config.hiddenSize;
  return [
    norm("input_layernorm", "attn_norm", D),
    ...linear,
    ...(config.qkNorm
      ? [
        norm("self_attn.q_norm", "attn_q_norm", config.headDim),
        norm("self_attn.k_norm", "attn_k_norm", config.headDim),
      ]
      : []),
    ...(config.postNorms
      ? [
        norm("post_attention_layernorm", "post_attention_norm", D),
        norm("pre_feedforward_layernorm", "ffn_norm", D),
        norm("post_feedforward_layernorm", "post_ffw_norm", D),
      ]
      : [norm("post_attention_layernorm", "ffn_norm", D)]),
  ];
}

/** PEFT's name in a saved adapter; DoRA's magnitude is saved without ".weight". */
export function peftName(layer: number, projection: Projection, part: LoraPart): string {
  const name = `base_model.model.${moduleName(layer, projection)}.${part}`;
  return part === "lora_magnitude_vector" ? name : `${name}.weight`;
}

/** The same parameter's name inside a PEFT model, with the adapter's name "default" in it. */
export function peftMemoryName(layer: number, projection: Projection, part: LoraPart): string {
  return `base_model.model.${moduleName(layer, projection)}.${part}.default.weight`;
}

/** Which parameter a saved adapter's tensor is, or null when it is none of ours. */
export function parsePeftName(name: string): { layer: number; projection: Projection; part: LoraPart } | null {
  const match =
    /^(?:base_model\.model\.)?model\.layers\.(\d+)\.(self_attn|mlp)\.(\w+)\.(\w+?)(?:\.default)?(?:\.weight)?$/
      .exec(name);
  if (!match) return null;
  const layer = Number(match[1]), projection = match[3] as Projection, part = match[4] as LoraPart;
  if (!projections.includes(projection) || !["lora_A", "lora_B", "lora_magnitude_vector"].includes(part)) return null;
  if (!moduleName(layer, projection).includes(`.${match[2]}.`)) return null;
  return { layer, projection, part };
}

/**
 * Moves rows of q or k from GGUF's interleaved order of the llama family to halves apart, or back (`interleave`): within
 * a head, row 2j+p of the one is row p*headDim/2 + j of the other. Works on a weight [rows, width], a bias (width 1), and
 * a LoRA B (width r); returns a new array of the same kind.
 */
export function reorderHeads<A extends Float32Array | Uint8Array | Uint16Array>(
  x: A,
  options: { headDim: number; width: number; interleave?: boolean },
): A {
  const { headDim, width, interleave = false } = options;
  const y = x.slice() as A;
  const half = headDim / 2, rows = x.length / width;
  for (let row = 0; row < rows; row++) {
    const inHead = row % headDim, start = row - inHead;
    const apart = start + (inHead % 2) * half + (inHead >> 1);
    const [to, from] = interleave ? [row, apart] : [apart, row];
    y.set(x.subarray(from * width, (from + 1) * width) as never, to * width);
  }
  return y;
}
