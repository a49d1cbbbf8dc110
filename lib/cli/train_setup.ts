/**
 * What `ftl train` decides before the first step: the learning rate for a model's size, how many rows go through the
 * model at once, and the settings of adapter and loop in their modules' own words. Decides; prints nothing.
 */
import { createHash } from "node:crypto";
import type { Example } from "../data/render.ts";
import type { LoraSettings } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Trainable } from "../model/trainable.ts";
import { defaultAdamw } from "../train/optimizer.ts";
import type { TrainSettings as LoopSettings } from "../train/settings.ts";
import type { LoadedModel } from "./load.ts";
import type { TrainSettings } from "./resolve.ts";
import type { TrainingRows } from "./rows.ts";

/** A run before its first step, and what was decided for it. */
export interface PreparedRun {
  folder: string;
  settings: TrainSettings & { learning_rate: number };
  /** Whether the learning rate was chosen by the model's size. */
  chosenRate: boolean;
  model: LoadedModel;
  rows: TrainingRows;
  lora: LoraSettings;
  trainable: Trainable;
  plan: PassPlan;
  totalSteps: number;
}

/** Highest learning rate by number of parameters: small models need larger steps. The last one is the paper's. */
const learningRates: [below: number, rate: number][] = [[0.4e9, 2e-3], [1.5e9, 1e-3], [5e9, 5e-4], [Infinity, 2e-4]];

export function learningRateFor(parameters: number): number {
  return learningRates.find(([below]) => parameters < below)![1];
}

export function loraSettings(settings: TrainSettings): LoraSettings {
  const { r, lora_alpha, lora_dropout, use_rslora, use_dora, target_modules, init_lora_weights: init, seed } = settings;
  const init_lora_weights = init === "true" ? true : init;
  return { r, lora_alpha, lora_dropout, use_rslora, use_dora, target_modules, init_lora_weights, seed };
}

export function loopSettings(settings: TrainSettings & { learning_rate: number }): LoopSettings {
  return {
    maxSteps: settings.max_steps,
    numTrainEpochs: settings.num_train_epochs,
    perDeviceTrainBatchSize: settings.per_device_train_batch_size,
    gradientAccumulationSteps: settings.gradient_accumulation_steps,
    learningRate: settings.learning_rate,
    lrSchedulerType: settings.lr_scheduler_type,
    warmupSteps: settings.warmup_steps,
    optim: settings.optim,
    adamw: { ...defaultAdamw, weightDecay: settings.weight_decay },
    maxGradNorm: settings.max_grad_norm,
    seed: settings.seed,
    evalSteps: settings.eval_steps,
    earlyStoppingPatience: settings.early_stopping_patience,
    saveSteps: settings.save_steps,
    saveTotalLimit: settings.save_total_limit,
  };
}

/** What a resumed run must share with its beginning, besides the loop's own settings. */
export function fingerprintOf(
  settings: TrainSettings,
  { examples, model }: { examples: Example[]; model: string },
): Record<string, string> {
  const hash = createHash("sha256");
  for (const { tokens, targets } of examples) hash.update(new Uint8Array(tokens.buffer)).update(targets).update("\n");
  const { r, lora_alpha, lora_dropout, target_modules, use_rslora, use_dora, shuffle_dataset } = settings;
  return {
    model,
    data: hash.digest("hex").slice(0, 16),
    r: String(r),
    lora_alpha: String(lora_alpha),
    lora_dropout: String(lora_dropout),
    target_modules: [...target_modules].sort().join(","),
    use_rslora: String(use_rslora),
    use_dora: String(use_dora),
    shuffle_dataset: String(shuffle_dataset),
  };
}

export interface PassPlan {
  /** Rows that go through the model at once; the window in as many passes as needed. */
  rowsPerPass: number;
  /** Layers that keep their values for the backward: none with gradient checkpointing. */
  keepLayers: number;
  /** Estimate of what a pass holds at its peak, bytes. */
  bytes: number;
}

/**
 * Accumulation exists to save memory: where a whole window fits into a quarter of the machine's memory, it runs as one
 * pass, with the same gradient and larger matrix products. Depends on the machine's size, never on what else runs, so
 * that a run repeats bit for bit.
 */
export function planPass(
  settings: TrainSettings,
  { config, longest, memory }: { config: ModelConfig; longest: number; memory: number },
): PassPlan {
  const batch = settings.per_device_train_batch_size;
  const keepLayers = settings.gradient_checkpointing ? 0 : config.layers;
  for (let rows = batch * settings.gradient_accumulation_steps;; rows -= batch) {
    const bytes = passBytes(config, { rows, longest, layers: Math.max(1, keepLayers) });
    if (rows <= batch || bytes <= memory / 4) return { rowsPerPass: rows, keepLayers, bytes };
  }
}

/** f32 values alive at once: every layer's input, the whole of `layers` layers, and one layer's scores twice. */
function passBytes(
  config: ModelConfig,
  { rows, longest, layers }: { rows: number; longest: number; layers: number },
): number {
  const { hiddenSize: D, intermediateSize: F, heads, kvHeads, headDim } = config;
  const tokens = rows * longest;
  const layer = tokens * (8 * D + 5 * F + 3 * (heads + 2 * kvHeads) * headDim);
  const scores = 2 * rows * heads * longest * longest;
  return 4 * (tokens * D * config.layers + layer * layers + scores);
}
