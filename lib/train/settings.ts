/** What a training run is given: settings under Hugging Face's names, and the model, rows and files of one run. */
import type { Row } from "../model/trainable.ts";
import type { TrainEvent } from "./events.ts";
import type { Learner } from "./learner.ts";
import type { AdamwSettings, OptimizerName } from "./optimizer.ts";
import type { ScheduleName } from "./schedule.ts";

export interface TrainSettings {
  /** Above 0 it wins over numTrainEpochs. */
  maxSteps: number;
  numTrainEpochs: number;
  perDeviceTrainBatchSize: number;
  gradientAccumulationSteps: number;
  learningRate: number;
  lrSchedulerType: ScheduleName;
  warmupSteps: number;
  /** Share of the steps, when warmupSteps is 0. */
  warmupRatio?: number;
  optim: OptimizerName;
  adamw: AdamwSettings;
  /** 0: no clipping. */
  maxGradNorm: number;
  /** Of the dropout masks. */
  seed: number;
  /** Steps between evaluations; 0: only before and after. */
  evalSteps: number;
  /** Evaluations without a loss lower by more than minDelta before the run stops; 0: never. */
  earlyStoppingPatience: number;
  earlyStoppingMinDelta?: number;
  /** Steps between checkpoints; 0: only when interrupted. */
  saveSteps: number;
  /** Newest checkpoints kept; with early stopping the best one stays besides. */
  saveTotalLimit: number;
}

export interface TrainOptions {
  /** Its optimiser is the one that `settings` names. */
  learner: Learner;
  /** Rows of one epoch. */
  rows: number;
  /** The row at a position, counted from 0 over all epochs. */
  rowAt(position: number): Row;
  evalRows?: Row[];
  settings: TrainSettings;
  /** Rows that one pass may hold; results depend on it only by rounding. */
  rowsPerPass: number;
  /** Where checkpoints (a folder) and the log (a file) go; without it nothing is written. */
  files?: { checkpoints: string; log: string };
  /** Model, data and settings that a resumed run must share, besides those of `settings`. */
  fingerprint?: Record<string, string>;
  resume?: boolean;
  /** Aborted: the current step ends, a checkpoint is saved. */
  signal?: AbortSignal;
  onEvent?: (event: TrainEvent) => void;
}

/** The settings that losses depend on, under their names in a run's configuration. */
export function settingsFingerprint(settings: TrainSettings, rows: number): Record<string, string> {
  const { adamw } = settings;
  return {
    max_steps: String(settings.maxSteps),
    num_train_epochs: settings.maxSteps > 0 ? "-" : String(settings.numTrainEpochs),
    per_device_train_batch_size: String(settings.perDeviceTrainBatchSize),
    gradient_accumulation_steps: String(settings.gradientAccumulationSteps),
    learning_rate: String(settings.learningRate),
    lr_scheduler_type: settings.lrSchedulerType,
    warmup_steps: String(settings.warmupSteps || `${settings.warmupRatio ?? 0} of all`),
    optim: `${settings.optim}, betas ${adamw.beta1} ${adamw.beta2}, eps ${adamw.eps}`,
    weight_decay: String(adamw.weightDecay),
    max_grad_norm: String(settings.maxGradNorm),
    seed: String(settings.seed),
    rows: String(rows),
  };
}
