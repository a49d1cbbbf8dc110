/**
 * The kinds of GGUF file that can be written, by llama.cpp's names, and the type that each stores each matrix in.
 *
 * A quantised kind is a mix: tensors on which more depends get more bits, and rows that are not whole blocks of their type
 * get another type. The rules are those of `llama-quantize` without importance matrix, so that a file of a kind is what
 * its users know under that name. Source: llama.cpp src/llama-quant.cpp (llama_tensor_get_type, tensor_type_fallback).
 */
import { ggmlTypes } from "../formats/ggml_types.ts";
import type { ModelConfig } from "../model/config.ts";
import type { ModelTensor } from "../model/names.ts";
import type { StoredType } from "./encode.ts";

interface Kind {
  /** Of matrices that no rule names. */
  type: StoredType;
  /** general.file_type, llama.cpp's enum llama_ftype. */
  fileType: number;
  /** Whether attn_v and ffn_down get Q6_K in the layers that matter most. */
  isMixed?: boolean;
}

export const ggufKinds = {
  F32: { type: "F32", fileType: 0 },
  F16: { type: "F16", fileType: 1 },
  BF16: { type: "BF16", fileType: 32 },
  Q8_0: { type: "Q8_0", fileType: 7 },
  Q6_K: { type: "Q6_K", fileType: 18 },
  Q5_K_M: { type: "Q5_K", fileType: 17, isMixed: true },
  Q4_K_M: { type: "Q4_K", fileType: 15, isMixed: true },
  Q4_0: { type: "Q4_0", fileType: 2 },
} as const satisfies Record<string, Kind>;

export type GgufKind = keyof typeof ggufKinds;

const isQuantised = (type: StoredType) => ggmlTypes[type].block > 1;

/** What a file of a kind stores a tensor of the model in. Norms and biases are F32 in all of them. */
export function storedType(
  tensor: ModelTensor,
  { kind, config }: { kind: GgufKind; config: ModelConfig },
): StoredType {
  if (tensor.shape.length === 1) return "F32";
  const { type } = ggufKinds[kind];
  return isQuantised(type) ? fitting(mixedType(tensor, { kind, config }), tensor.shape[1]) : type;
}

/** Bytes of a kind's tensors: the file but for its metadata. */
export function ggufTensorBytes(
  { tensors, config }: { tensors: ModelTensor[]; config: ModelConfig },
  kind: GgufKind,
): number {
  return tensors.reduce((sum, tensor) => {
    const { block, bytes } = ggmlTypes[storedType(tensor, { kind, config })];
    return sum + tensor.shape.reduce((a, b) => a * b) / block * bytes;
  }, 0);
}

/** The type by what the tensor is for. */
function mixedType(tensor: ModelTensor, { kind, config }: { kind: GgufKind; config: ModelConfig }): StoredType {
  const { type, isMixed }: Kind = ggufKinds[kind], { key, role, layer, shape } = tensor;
  // The matrix that makes the logits: the head, or the embedding where it serves as head too.
  if (role === "head" || (role === "embedding" && config.tied)) {
    return type === "Q8_0" || shape[1] % ggmlTypes[type].block !== 0 ? "Q8_0" : "Q6_K";
  }
  const isSensitive = key === "v_proj" || key === "down_proj";
  if (isMixed && isSensitive && getsMoreBits(layer!, config.layers)) return "Q6_K";
  if (key === "v_proj" && type === "Q4_K" && is70B(config)) return "Q5_K";
  return type;
}

/** The first and last eighth of the layers, and every third between. */
function getsMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor(7 * layers / 8) || (layer - eighth) % 3 === 2;
}

/** Models that llama.cpp takes for Llama 2 70B, in which 8 heads share a matrix of values. */
function is70B({ architecture, layers, heads, kvHeads }: ModelConfig): boolean {
  if (layers !== 80) return false;
  return architecture === "qwen2" || ((architecture === "llama" || architecture === "mistral") && heads !== kvHeads);
}

/** The type, or for rows of `width` elements that are not whole blocks of it, what llama.cpp takes instead. */
function fitting(type: StoredType, width: number): StoredType {
  const fits = (type: StoredType) => width % ggmlTypes[type].block === 0;
  const instead: Partial<Record<StoredType, StoredType>> = { Q4_K: "Q5_0", Q5_K: "Q5_1", Q6_K: "Q8_0" };
  const found = fits(type) ? type : instead[type] ?? type;
  return fits(found) ? found : "F16";
}
