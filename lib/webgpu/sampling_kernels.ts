/** Kernel calls that choose the next token from logits, so that only tokens leave the device. */
import type { SampleOptions } from "../ops.ts";
import { type Dispatch, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, vectorsOf } from "./vectors.ts";

/** The token with the largest logit, the first of equal ones. logits [B, V], token i32 [B]. */
export function argmax<T extends TensorLike>(logits: T, token: T): Dispatch<T> {
  return sample(logits, token, { temperature: 0, top_k: 0, top_p: 1, min_p: 0, seed: 0, step: 0 });
}

/** Passes over the logits that find a floor. */
const searchPasses = 16;

/** A token drawn with the probabilities softmax(logits / temperature). logits [B, V], token i32 [B]. */
export function sample<T extends TensorLike>(logits: T, token: T, options: SampleOptions): Dispatch<T> {
  const { temperature, top_k, top_p, min_p, seed, step } = options;
  const [B, V] = logits.shape, { size, of, Float, share } = vectorsOf(V);
  const random = temperature > 0, limited = random && top_k > 0 && top_k < V, nucleus = random && top_p < 1;
  return {
    kernel: "sample",
    constants: {
      ...{ size, share, Logits: of(logits), Float },
      ...{ random: `${random}`, limited: `${limited}`, nucleus: `${nucleus}`, floored: `${random && min_p > 0}` },
      ...size === 1 ? { Word: "u32", offsets: "0u" } : {},
    },
    tensors: [logits, token],
    params: [
      ...[B, V / size, top_k, { f32: top_p }, { f32: Math.min(min_p, 1) }],
      ...[seed >>> 0, step >>> 0, { f32: random ? 1 / temperature : 1 }],
    ],
    grid: spread(B),
    work: { bytes: (1 + searchPasses * (Number(limited) + Number(nucleus))) * bytesMoved(logits) },
  };
}
