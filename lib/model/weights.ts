/**
 * Loads a model's frozen weights into an executor: projections as NF4 or f32, large tables in 16 bits where they are
 * stored so, everything else as f32. A checkpoint that is 4-bit already keeps its own codes, and what it leaves in 16 bits
 * stays unquantised.
 *
 * One tensor is in host memory at a time besides what the executor keeps. Quantising takes a while, so the result may be
 * kept in a folder (weight_cache.ts): it is written there first, with nothing else in memory, and then read. A cache that
 * is stale, damaged or cannot be written costs time, never an error.
 */
import type { Executor, Value } from "../ops.ts";
import { elementCount } from "../formats/tensor_file.ts";
import { nestedBlock, quantizeAbsmax, type QuantizedWeight, recoverAbsmax } from "../quant/double_quant.ts";
import { dequantizeNf4, nf4Block, quantizeNf4 } from "../quant/nf4.ts";
import type { ModelTensor } from "./names.ts";
import type { ModelSource } from "./source.ts";
import { hasWeightCache, readWeightCache, writeWeightCache } from "./weight_cache.ts";

export interface LoadedWeights {
  /** [V, D], f32 or 16 bits, not scaled. */
  embed_tokens: Value;
  /** f32 [D]. */
  norm: Value;
  /** [V, D], f32 or 16 bits; the same value as embed_tokens where they are tied. */
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
  progress?: (done: number, total: number, what: "quantising" | "loading") => void;
}

/**
 * Elements from which on the embedding and the head stay in 16 bits: 256 MiB in f32. Casting a slice for each of its two
 * products costs a twentieth of these; below, that is more than the memory is worth.
 */
export const largeTable = 2 ** 26;

/** Whether a tensor that is stored like this is kept in 16 bits. */
function staysHalf({ role, shape }: ModelTensor, precision: string): boolean {
  const table = role === "embedding" || role === "head";
  return table && elementCount(shape) >= largeTable && !/^F(32|64)$/.test(precision);
}

/** Projections in 4 bits: all but those that a 4-bit checkpoint leaves in 16. */
function isFourBit(source: Pick<ModelSource, "fourBit">, { role, name }: ModelTensor): boolean {
  return role === "linear" && source.fourBit(name) !== "never";
}

/** Projections that are quantised here, rather than stored in NF4 already. */
function isQuantised(source: Pick<ModelSource, "fourBit">, { role, name }: ModelTensor): boolean {
  return role === "linear" && source.fourBit(name) === "quantise";
}

/** Names of the projections' weights that a 4-bit checkpoint leaves in 16 bits. From headers alone. */
export function unquantisedWeights(source: Pick<ModelSource, "tensors" | "fourBit">): Set<string> {
  const { tensors } = source;
  return new Set(
    tensors.filter((tensor) => tensor.role === "linear" && !isFourBit(source, tensor)).map(({ name }) => name),
  );
}

/** Bytes that the weights take, once loaded in NF4 with double quantisation. From headers alone. */
export function nf4WeightBytes(source: Pick<ModelSource, "tensors" | "precision" | "fourBit">): number {
  return source.tensors.reduce((sum, tensor) => {
    if (isFourBit(source, tensor)) return sum + nf4Bytes(tensor);
    return sum + elementCount(tensor.shape) * (staysHalf(tensor, source.precision(tensor.name)) ? 2 : 4);
  }, 0);
}

/** Codes, and maxima in 8 bits with an f32 for each 256. */
function nf4Bytes({ shape }: ModelTensor): number {
  const count = elementCount(shape), blocks = Math.ceil(count / nf4Block);
  return Math.ceil(count / 2) + blocks + 4 * Math.ceil(blocks / nestedBlock) + 4;
}

/** Bytes that loading would write to the cache folder: none where the model's weights are there. */
export function missingCacheBytes(source: ModelSource, cacheDir: string): number {
  const tensors = source.tensors.filter((tensor) => isQuantised(source, tensor));
  const about = { cacheDir, path: source.path, fingerprint: source.fingerprint(), doubleQuant: true, tensors };
  return tensors.length === 0 || hasWeightCache(about) ? 0 : tensors.reduce((sum, tensor) => sum + nf4Bytes(tensor), 0);
}

/** Loads every tensor of the model. UserError for damaged weights. */
export function loadWeights(source: ModelSource, executor: Executor, options: LoadOptions): LoadedWeights {
  const { tensors, config } = source;
  const values = new Map<string, Value>();
  const put = (tensor: ModelTensor, value: Value) => {
    const before = values.get(tensor.name);
    if (before) executor.release(before);
    values.set(tensor.name, value);
    options.progress?.(values.size, tensors.length, "loading");
  };
  const shape = (tensor: ModelTensor) => tensor.shape as [number, number];
  const putF32 = (tensor: ModelTensor, data: Float32Array) =>
    put(tensor, executor.weight({ kind: "f32", shape: shape(tensor), data }));
  const linear = tensors.filter((tensor) => isFourBit(source, tensor));
  const others = () => {
    for (const tensor of tensors) {
      if (isFourBit(source, tensor)) continue;
      const half = staysHalf(tensor, source.precision(tensor.name)) && source.half(tensor.name);
      if (half) put(tensor, executor.weight({ kind: "half", shape: shape(tensor), ...half }));
      else if (tensor.shape.length === 2) putF32(tensor, source.float32(tensor.name));
      else put(tensor, executor.tensor(source.float32(tensor.name), tensor.shape));
    }
  };
  if (options.linear === "f32") {
    others();
    for (const tensor of linear) putF32(tensor, source.float32(tensor.name));
  } else {
    const use = (tensor: ModelTensor, { packed, absmax }: QuantizedWeight) => {
      if (options.linear === "nf4") {
        return put(tensor, executor.weight({ kind: "nf4", shape: shape(tensor), packed, absmax }));
      }
      const maxima = absmax instanceof Float32Array ? absmax : recoverAbsmax(absmax);
      putF32(tensor, dequantizeNf4(packed, maxima, elementCount(tensor.shape)));
    };
    const quantised = nf4Weights(source, linear.filter((tensor) => isQuantised(source, tensor)), options);
    quantised.prepare();
    others();
    for (const tensor of linear) if (!isQuantised(source, tensor)) use(tensor, source.nf4(tensor.name));
    quantised.each(use);
  }
  const whole = (key: string) => values.get(tensors.find((tensor) => tensor.key === key)!.name)!;
  const layers = Array.from({ length: config.layers }, (): Record<string, Value> => ({}));
  for (const { layer, key, name } of tensors) if (layer !== undefined) layers[layer][key] = values.get(name)!;
  const embed_tokens = whole("embed_tokens");
  return { embed_tokens, norm: whole("norm"), lm_head: config.tied ? embed_tokens : whole("lm_head"), layers };
}

/**
 * The listed tensors in NF4. `prepare` writes the cache where there is none; `each` hands every tensor over, from the
 * cache where it is good, else quantised now.
 */
function nf4Weights(
  source: ModelSource,
  tensors: ModelTensor[],
  { doubleQuant = true, cacheDir, progress }: LoadOptions,
): { prepare(): void; each(use: (tensor: ModelTensor, weight: QuantizedWeight) => void): void } {
  const quantize = (tensor: ModelTensor): QuantizedWeight => {
    const { packed, absmax } = quantizeNf4(source.float32(tensor.name), { name: tensor.name });
    return { packed, absmax: doubleQuant ? quantizeAbsmax(absmax) : absmax };
  };
  if (cacheDir === undefined || tensors.length === 0) {
    return { prepare() {}, each: (use) => tensors.forEach((tensor) => use(tensor, quantize(tensor))) };
  }
  const about = { cacheDir, path: source.path, fingerprint: source.fingerprint(), doubleQuant, tensors };
  let writable = true;
  const write = () => {
    let done = 0;
    writable = writeWeightCache(about, (tensor) => {
      const weight = quantize(tensor);
      progress?.(++done, tensors.length, "quantising");
      return weight;
    });
  };
  return {
    prepare() {
      if (!hasWeightCache(about)) write();
    },
    each(use) {
      if (writable && readWeightCache(about, use)) return;
      if (writable) write(); // it was damaged
      if (writable && readWeightCache(about, use)) return;
      for (const tensor of tensors) use(tensor, quantize(tensor));
    },
  };
}

/** Gives every value back. */
export function releaseWeights(executor: Executor, weights: LoadedWeights): void {
  const values = [weights.embed_tokens, weights.norm, weights.lm_head, ...weights.layers.flatMap(Object.values)];
  executor.release(...new Set(values));
}
