/** The kernel call that chooses the next tokens from logits, so that only tokens leave the device. */
import type { SampleOptions } from "../ops.ts";
import { type Dispatch, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, vectorsOf } from "./vectors.ts";

/** Words of a row's settings. */
export const settingWords = 8;

/** Settings of the rows as kernels/sample.wgsl reads them, u32 [B, 8], for a vocabulary of V tokens. */
export function sampleSettings(options: SampleOptions[], V: number): Uint32Array {
  const words = new Uint32Array(settingWords * options.length), floats = new Float32Array(words.buffer);
  for (const [b, { temperature, top_k, top_p, min_p, seed, row, step }] of options.entries()) {
    const at = b * settingWords, random = temperature > 0;
    words[at] = Number(random);
    floats[at + 1] = random ? 1 / temperature : 1;
    words[at + 2] = top_k < V ? top_k : 0;
    floats[at + 3] = top_p;
    floats[at + 4] = Math.min(min_p, 1);
    words.set([seed >>> 0, row, step >>> 0], at + 5);
  }
  return words;
}

/** A token for each row, as its settings say. logits [B, V], settings of sampleSettings(), token i32 [B]. */
export function sample<T extends TensorLike>(logits: T, settings: T, token: T): Dispatch<T> {
  const [B, V] = logits.shape, { size, of, Float, share } = vectorsOf(V);
  return {
    kernel: "sample",
    constants: {
      ...{ size, share, Logits: of(logits), Float },
      ...size === 1 ? { Word: "u32", offsets: "0u" } : {},
    },
    tensors: [logits, settings, token],
    params: [B, V / size],
    grid: spread(B),
    work: { bytes: bytesMoved(logits) },
  };
}
