/**
 * How long a training step takes: its work in numbers, from shapes alone, and the time of these numbers at what a
 * device was seen to do. What is not a product with frozen weights is small and comes as shares that were measured
 * (tests/bench/LOG.md).
 */
import type { ModelConfig } from "./config.ts";
import { projections, projectionShape } from "./names.ts";
import type { MemoryPlan } from "./plan.ts";

/** What a device does, measured there or known of its kind. */
export interface Speed {
  /** Floating-point operations a second of products with frozen weights. */
  products: number;
  /** The same of attention's products, counted over whole rows, whichever of the keys a query sees. */
  attention: number;
  /** Seconds an NF4 weight takes to be written out. */
  decode: number;
  /** Seconds for everything of a layer that is no product with a frozen weight, a number of activations. */
  other: number;
  /** Seconds the optimiser takes a trained number. */
  optimizer: number;
  /** Seconds of every pass beside these. */
  pass: number;
}

/** What a step computes on. */
export interface StepSize {
  tokens: number;
  /** Tokens that are targets of the loss. */
  targets: number;
  /** Sum of the squares of the rows' lengths. */
  squares: number;
  passes: number;
}

/** Elements of the projections of all layers. */
export function linearElements(config: ModelConfig): number {
  return config.layers * projections.reduce((sum, name) => {
    const [O, I] = projectionShape(config, name);
    return sum + O * I;
  }, 0);
}

/**
 * Seconds of a step. Products: 2 operations an element and token forward, 2 backward, and 2 again in layers that are
 * computed again; the head 4 a target. Attention: 4 a query, key and channel forward, 10 backward, 4 again. Weights are
 * written out once forward and once backward in every pass.
 */
export function stepSeconds(
  { config, trained, plan, step, speed }: {
    config: ModelConfig;
    trained: number;
    plan: Pick<MemoryPlan, "keepLayers">;
    step: StepSize;
    speed: Speed;
  },
): number {
  const { hiddenSize: D, intermediateSize: F, vocabSize: V, layers, heads, kvHeads, headDim: S } = config;
  const { tokens, targets, squares, passes } = step, linear = linearElements(config);
  const again = 1 - plan.keepLayers / layers;
  const products = linear * tokens * (4 + 2 * again) + 4 * V * D * targets;
  const activations = tokens * layers * (8 * D + 6 * F + 2 * (heads + 2 * kvHeads) * S) * (3 + again);
  const attention = 4 * squares * layers * heads * S * (3.5 + again);
  return products / speed.products + attention / speed.attention + passes * (2 * linear * speed.decode + speed.pass) +
    activations * speed.other + trained * speed.optimizer;
}
