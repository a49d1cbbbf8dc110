/**
 * What a learner (lib/train/learner.ts) sees of a model: parameters with gradients, one call that adds a pass's
 * gradient, one that evaluates. How a pass is run (packing, checkpointing, executor) stays behind it.
 */
import type { Value } from "../ops.ts";

/** A row ready for the model. */
export interface Row {
  tokens: Int32Array;
  /** 1 where the token is a target of the loss; targets[0] is 0, since nothing predicts the first token. */
  targets: Uint8Array;
}

/**
 * One trained tensor: f32 master and its gradient, row-major, in host memory. Where a GPU trains, `value` is a copy,
 * true only when it was pulled, and `grad` is not used.
 */
export interface Parameter {
  /** PEFT's name: base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight */
  name: string;
  shape: [number, number] | [number];
  value: Float32Array;
  grad: Float32Array;
}

/** Loss of one row: sum over its target tokens in nats, and their number. */
export interface RowLoss {
  loss: number;
  targets: number;
}

/** Losses of a pass that may still be running, so that several passes can be queued before one wait. */
export interface PendingLosses {
  /** What holds them, to be read together with other values. */
  values: Value[];
  /** The rows' losses from what was read of `values`, which are given back. To be called once. */
  take(read: Float32Array[]): RowLoss[];
  /** Reads them on their own: waits for the pass. */
  read(): Promise<RowLoss[]>;
}

export interface Trainable {
  readonly parameters: Parameter[];
  /** Overwrites (`first`) or adds to every gradient that of scale * (sum of the rows' target losses). */
  accumulate(
    rows: Row[],
    options: { scale: number; first: boolean; dropoutSeed?: number },
  ): Promise<PendingLosses>;
  /** Losses without gradients, dropout off. */
  evaluate(rows: Row[]): Promise<RowLoss[]>;
}
