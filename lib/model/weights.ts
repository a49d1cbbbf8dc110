/**
 * Loads a model's frozen weights into an executor: projections as NF4 or f32, everything else as f32. A checkpoint that
 * is 4-bit already keeps its own codes, and what it leaves in 16 bits stays unquantised.
 *
 * One tensor is in host memory at a time besides what the executor keeps. Quantising takes seconds, so the result may be
 * kept in a folder (weight_cache.ts); a cache that is stale, damaged or cannot be written costs time, never an error.
 */
import type { Executor, Value } from "../ops.ts";
import { elementCount } from "../formats/tensor_file.ts";
import { quantizeAbsmax, type QuantizedWeight, recoverAbsmax } from "../quant/double_quant.ts";
import { dequantizeNf4, quantizeNf4 } from "../quant/nf4.ts";
import type { ModelTensor } from "./names.ts";
import type { ModelSource } from "./source.ts";
import { readWeightCache, writeWeightCache } from "./weight_cache.ts";

export interface LoadedWeights {
  /** f32 [V, D], not scaled. */
  embed_tokens: Value;
  /** f32 [D]. */
  norm: Value;
  /** f32 [V, D]; the same value as embed_tokens where they are tied. */
  lm_head: Value;
  /** By key of the layer's tensors: "q_proj" [O, I], "q_proj.bias" [O], "input_layernorm" [D], "q_norm" [S] ... */
  layers: Record<string, Value>[];
}

export interface LoadOptions {
  /**
   * How projections are kept: quantised; quantised, but their values written out as f32 (the same numbers in eight times
   * the memory, faster where few tokens meet each weight); or as f32 without quantising.
   */
  linear: "nf4" | "dequantised" | "f32";
  /** Block maxima of NF4 pass through 8-bit quantisation, as QLoRA does. Default true. */
  doubleQuant?: boolean;
  /** A folder for quantised weights, made when missing. Without it nothing is kept. */
  cacheDir?: string;
  /** Called after each tensor. */
  progress?: (done: number, total: number) => void;
}

/** Loads every tensor of the model. UserError for damaged weights. */
export function loadWeights(source: ModelSource, executor: Executor, options: LoadOptions): LoadedWeights {
  const { tensors, config } = source;
  const values = new Map<string, Value>();
  const put = (tensor: ModelTensor, value: Value) => {
    const before = values.get(tensor.name);
    if (before) executor.release(before);
    values.set(tensor.name, value);
    options.progress?.(values.size, tensors.length);
  };
  const shape = (tensor: ModelTensor) => tensor.shape as [number, number];
  const putF32 = (tensor: ModelTensor, data: Float32Array) =>
    put(tensor, executor.weight({ kind: "f32", shape: shape(tensor), data }));
  const isFourBit = ({ role, name }: ModelTensor) => role === "linear" && source.fourBit(name) !== "never";
  const linear = tensors.filter(isFourBit);
  for (const tensor of tensors) {
    if (isFourBit(tensor)) continue;
    const data = source.float32(tensor.name);
    if (tensor.shape.length === 2) putF32(tensor, data);
    else put(tensor, executor.tensor(data, tensor.shape));
  }
  if (options.linear === "f32") {
    for (const tensor of linear) putF32(tensor, source.float32(tensor.name));
  } else {
    const use = (tensor: ModelTensor, { packed, absmax }: QuantizedWeight) => {
      if (options.linear === "nf4") {
        return put(tensor, executor.weight({ kind: "nf4", shape: shape(tensor), packed, absmax }));
      }
      const maxima = absmax instanceof Float32Array ? absmax : recoverAbsmax(absmax);
      putF32(tensor, dequantizeNf4(packed, maxima, elementCount(tensor.shape)));
    };
    loadNf4(source, linear, { ...options, use });
  }
  const whole = (key: string) => values.get(tensors.find((tensor) => tensor.key === key)!.name)!;
  const layers = Array.from({ length: config.layers }, (): Record<string, Value> => ({}));
  for (const { layer, key, name } of tensors) if (layer !== undefined) layers[layer][key] = values.get(name)!;
  const embed_tokens = whole("embed_tokens");
  return { embed_tokens, norm: whole("norm"), lm_head: config.tied ? embed_tokens : whole("lm_head"), layers };
}

/**
 * Hands every listed tensor to `use`: with the model's own codes where it has them, else from the cache where that is
 * good, else quantised now (and then cached).
 */
function loadNf4(
  source: ModelSource,
  tensors: ModelTensor[],
  options: { use: (tensor: ModelTensor, weight: QuantizedWeight) => void; doubleQuant?: boolean; cacheDir?: string },
): void {
  const { use, doubleQuant = true, cacheDir } = options;
  const isOwn = ({ name }: ModelTensor) => source.fourBit(name) === "own";
  for (const tensor of tensors.filter(isOwn)) use(tensor, source.nf4(tensor.name));
  const others = tensors.filter((tensor) => !isOwn(tensor));
  if (others.length === 0) return;
  const quantize = (tensor: ModelTensor): QuantizedWeight => {
    const { packed, absmax } = quantizeNf4(source.float32(tensor.name), { name: tensor.name });
    return { packed, absmax: doubleQuant ? quantizeAbsmax(absmax) : absmax };
  };
  if (cacheDir === undefined) {
    for (const tensor of others) use(tensor, quantize(tensor));
    return;
  }
  const about = { cacheDir, path: source.path, fingerprint: source.fingerprint(), doubleQuant, tensors: others };
  if (!readWeightCache(about, use)) writeWeightCache(about, { quantize, use });
}

/** Gives every value back. */
export function releaseWeights(executor: Executor, weights: LoadedWeights): void {
  const values = [weights.embed_tokens, weights.norm, weights.lm_head, ...weights.layers.flatMap(Object.values)];
  executor.release(...new Set(values));
}
