/**
 * What the training loop sees of a model: parameters with gradients, one call that adds a pass's gradient, one that
 * evaluates. How a pass is run (packing, checkpointing, executor) stays behind it.
 */

/** A row ready for the model. */
export interface Row {
  tokens: Int32Array;
  /** 1 where the token is a target of the loss; targets[0] is 0, since nothing predicts the first token. */
  targets: Uint8Array;
}

/** One trained tensor: f32 master and its gradient, both in host memory, row-major. */
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

export interface Trainable {
  readonly parameters: Parameter[];
  /** Overwrites (`first`) or adds to every grad the gradient of scale * (sum of the rows' target losses). */
  accumulate(
    rows: Row[],
    options: { scale: number; first: boolean; dropoutSeed?: number },
  ): Promise<RowLoss[]>;
  /** Losses without gradients, dropout off. */
  evaluate(rows: Row[]): Promise<RowLoss[]>;
}
