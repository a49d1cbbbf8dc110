/** Kernel calls that choose the next token from logits, so that only tokens leave the device. */
import { type Dispatch, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, vectorsOf } from "./vectors.ts";

export interface SampleOptions {
  /** 0: the most likely token. */
  temperature: number;
  /** Only the k most likely tokens, and those as likely as the last of them; 0: all. */
  topK?: number;
  /** A draw depends on seed, row and step alone. */
  seed: number;
  step: number;
}

/** The token with the largest logit, the first of equal ones. logits [B, V], token i32 [B]. */
export function argmax<T extends TensorLike>(logits: T, token: T): Dispatch<T> {
  return choose(logits, token, false, { temperature: 1, seed: 0, step: 0 });
}

/** A token drawn with the probabilities softmax(logits / temperature). logits [B, V], token i32 [B]. */
export function sample<T extends TensorLike>(logits: T, token: T, options: SampleOptions): Dispatch<T> {
  return options.temperature > 0 ? choose(logits, token, true, options) : argmax(logits, token);
}

function choose<T extends TensorLike>(logits: T, token: T, random: boolean, options: SampleOptions): Dispatch<T> {
  const { temperature, topK = 0, seed, step } = options;
  const [B, V] = logits.shape, { size, of, Float } = vectorsOf(V), limited = topK > 0 && topK < V;
  return {
    kernel: "sample",
    constants: {
      ...{ size, random: `${random}`, limited: `${limited}`, Logits: of(logits), Float },
      ...size === 1 ? { Word: "u32", offsets: "0u" } : {},
    },
    tensors: [logits, token],
    params: [B, V / size, topK, seed >>> 0, step >>> 0, { f32: 1 / temperature }],
    grid: spread(B),
    work: { bytes: (limited ? 5 : 1) * bytesMoved(logits) },
  };
}
