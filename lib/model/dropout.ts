/**
 * Dropout of LoRA's inputs by a counter: the mask of an element is a function of seed, layer, module and index alone,
 * so that forward, recomputed forward and backward agree without keeping it, a resumed run repeats it, and every engine
 * drops the same.
 */
import type { DropoutMask, Executor, Value } from "../ops.ts";
import { lowbias32 } from "./hash.ts";
import { projections } from "./names.ts";

interface DropoutOptions {
  executor: Executor;
  layer: number;
  /** The layer's inputs by name; masks are made for the modules that have a LoRA. */
  inputs: Record<string, Value>;
  tokens: number;
  /** Probability that an element is dropped; the others are divided by 1 - p. */
  p: number;
  /** Differs for every pass of a run. */
  seed: number;
}

/** `<module>.dropout` [T, I] for every trained module. */
export function dropoutMasks(options: DropoutOptions): Record<string, Value> {
  const { executor, layer, inputs, tokens, p, seed } = options;
  const threshold = Math.min(Math.ceil(p * 2 ** 32), 2 ** 32 - 1), factor = 1 / (1 - p);
  const masks: Record<string, Value> = {};
  projections.forEach((name, module) => {
    const a = inputs[`${name}.lora_A`];
    if (!a) return;
    const shape = [tokens, a.shape[1]], mask = { key: mix(mix(seed >>> 0, layer), module), threshold, factor };
    masks[`${name}.dropout`] = executor.dropoutMask?.(mask, shape) ??
      executor.tensor(maskOf(mask, tokens * a.shape[1]), shape);
  });
  return masks;
}

function maskOf({ key, threshold, factor }: DropoutMask, count: number): Float32Array {
  const mask = new Float32Array(count);
  for (let i = 0; i < count; i++) mask[i] = mix(key, i) < threshold ? 0 : factor;
  return mask;
}

/** A 32-bit hash of two numbers. */
function mix(a: number, b: number): number {
  return lowbias32(a + Math.imul(b, 0x9e3779b9));
}
