/**
 * What the training loop drives: a model and its optimiser on the engine that runs both. Where values, gradients and
 * optimiser state live is the learner's business; the loop sees host copies, which it asks for (`pull`) before it saves
 * them and hands back (`push`) after it changed them.
 */
import type { Parameter, Row, RowLoss, Trainable } from "../model/trainable.ts";
import { clipFactor, gradientNorm } from "./gradient_norm.ts";
import type { Optimizer } from "./optimizer.ts";
import { windowGradient } from "./window_gradient.ts";

export interface StepOptions {
  /** Rows that one pass may hold. */
  rowsPerPass: number;
  /** Of the dropout masks, together with the position of the first row. */
  seed: number;
  position: number;
  learningRate: number;
  /** 0: no clipping. */
  maxGradNorm: number;
}

export interface StepResult {
  /** Mean over the window's target tokens before the update, nats. */
  loss: number;
  /** Before clipping. */
  gradNorm: number;
  /** Of the window, prompts included. */
  tokens: number;
}

export interface Learner {
  /** Host copies: true after `pull`. */
  readonly parameters: Parameter[];
  /** Host copies of the optimiser's state: true after `pull`, in force after `push`. */
  readonly optimizer: Pick<Optimizer, "state" | "load">;
  /**
   * One optimiser step: gradient of the rows' loss, clipping, update. Where loss or gradient are not finite, nothing is
   * changed and the result says so. UserError when no row has a target.
   */
  step(rows: Row[], options: StepOptions): Promise<StepResult>;
  /** Losses without gradients, dropout off. */
  evaluate(rows: Row[]): Promise<RowLoss[]>;
  /** Brings the host copies of values and optimiser state up to date. */
  pull(): Promise<void>;
  /** Hands changed host values and a loaded optimiser state to the engine. */
  push(): Promise<void>;
}

/** A learner whose optimiser works on the parameters' own arrays. */
export function hostLearner(model: Trainable, optimizer: Optimizer): Learner {
  const { parameters } = model;
  return {
    parameters,
    optimizer,
    async step(rows, { learningRate, maxGradNorm, ...options }) {
      const { loss, tokens } = await windowGradient(model, rows, options);
      const gradNorm = gradientNorm(parameters);
      if (Number.isFinite(loss) && Number.isFinite(gradNorm)) {
        optimizer.step(learningRate, clipFactor(gradNorm, maxGradNorm));
      }
      return { loss, gradNorm, tokens };
    },
    evaluate: (rows) => model.evaluate(rows),
    pull: () => Promise.resolve(),
    push: () => Promise.resolve(),
  };
}
