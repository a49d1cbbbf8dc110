/**
 * Dropout of LoRA's inputs by a counter: the mask of an element is a function of seed, layer, module and index alone,
 * so that forward, recomputed forward and backward agree without keeping it, and a resumed run repeats it.
 */
import type { Executor, Value } from "../ops.ts";
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
  const masks: Record<string, Value> = {};
  projections.forEach((name, module) => {
    const a = inputs[`${name}.lora_A`];
    if (!a) return;
    const width = a.shape[1], mask = new Float32Array(tokens * width);
    fillMask(mask, { p, key: mix(mix(seed >>> 0, layer), module) });
    masks[`${name}.dropout`] = executor.tensor(mask, [tokens, width]);
  });
  return masks;
}

function fillMask(mask: Float32Array, { p, key }: { p: number; key: number }): void {
  const threshold = p * 4294967296, factor = 1 / (1 - p);
  for (let i = 0; i < mask.length; i++) mask[i] = mix(key, i) < threshold ? 0 : factor;
}

/** A 32-bit hash of two numbers. */
function mix(a: number, b: number): number {
  return lowbias32(a + Math.imul(b, 0x9e3779b9));
}
