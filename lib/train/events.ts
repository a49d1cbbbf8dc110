/** What a training run tells its caller while it runs, and what it returns. Plain data, nothing is printed here. */

export type StopReason = "finished" | "early_stopping" | "interrupted";

export interface StepEvent {
  type: "step";
  /** Steps taken, from 1. */
  step: number;
  totalSteps: number;
  /** Passes through the data so far, with a fraction. */
  epoch: number;
  /** Mean over the window's target tokens before this step's update, nats. */
  loss: number;
  /** Before clipping. */
  gradNorm: number;
  learningRate: number;
  /** Of the window, prompts included. */
  tokens: number;
  /** Of the step, without evaluation and checkpoint. */
  seconds: number;
  /** Held-out loss after the update, when this step evaluated. */
  evalLoss?: number;
}

export type TrainEvent =
  | {
    type: "start";
    /** Steps taken already. */
    step: number;
    totalSteps: number;
    stepsPerEpoch: number;
    rowsPerStep: number;
    rowsPerPass: number;
    warmupSteps: number;
    resumedFrom?: string;
  }
  | StepEvent
  | { type: "eval"; step: number; loss: number; best: boolean }
  | { type: "checkpoint"; step: number; path: string }
  /** A file that cannot be read. `lost`: its steps after the one that is gone on from, to be computed again. */
  | { type: "damaged_checkpoint"; path: string; message: string; lost?: { from: number; to: number } }
  /** The disk refused a checkpoint. The run goes on; `saved` is the step of the last one there, -1 for none. */
  | { type: "unsaved"; step: number; saved: number; message: string }
  | { type: "note"; message: string }
  /** The parameters are those of the best evaluation again. */
  | { type: "restore"; step: number; loss: number }
  | { type: "stop"; reason: StopReason; step: number };

export interface TrainResult {
  reason: StopReason;
  step: number;
  totalSteps: number;
  /** Step of the last checkpoint on the disk; -1 for none. */
  saved: number;
  /** Why the checkpoint of the last step is not there, where it was to be written. */
  unsaved?: string;
  /** Held-out loss before the first step and of the parameters as they are left. */
  evalBefore?: number;
  evalAfter?: number;
  /** The best evaluation, when early stopping is on. */
  best?: { step: number; loss: number };
}
