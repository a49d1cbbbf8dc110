/**
 * The optimisers by name behind one interface: they update the parameters' values in place from their gradients.
 * The learning rate and the clipping factor come with each step; nothing here knows schedules or files.
 */
import type { Parameter } from "../model/trainable.ts";
import { adamw } from "./adamw.ts";
import { adamw8bit } from "./adamw_8bit.ts";

export type OptimizerName = "adamw_torch" | "adamw_8bit";

export interface AdamwSettings {
  beta1: number;
  beta2: number;
  eps: number;
  /** Decoupled: every step multiplies the values by 1 - lr * weightDecay. */
  weightDecay: number;
}

/** Everything that the next step depends on besides values and gradients. */
export interface OptimizerState {
  /** Steps taken. */
  step: number;
  /** By "<parameter name>.<state name>", in the order of the parameters; views of the live state, not copies. */
  tensors: Map<string, Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>;
  /** Of a learner that scales the loss. */
  lossScale?: LossScale;
}

export interface LossScale {
  /** What the loss is multiplied with. */
  factor: number;
  /** Steps since it last changed. */
  calm: number;
}

export interface Optimizer {
  /** One update with learning rate `lr`, gradients multiplied by `gradScale` first. Gradients must be finite. */
  step(lr: number, gradScale: number): void;
  state(): OptimizerState;
  /** Copies a state in. Throws Error when names or lengths are not this optimiser's. */
  load(state: OptimizerState): void;
}

export const defaultAdamw: AdamwSettings = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };

export function makeOptimizer(
  kind: OptimizerName,
  parameters: Parameter[],
  settings: AdamwSettings,
): Optimizer {
  return kind === "adamw_8bit" ? adamw8bit(parameters, settings) : adamw(parameters, settings);
}
