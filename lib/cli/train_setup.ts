/**
 * What `ftl train` decides before the first step: the learning rate for a model's size, how many rows go through the
 * model at once, and the settings of adapter and loop in their modules' own words. Decides; prints nothing.
 */
import { createHash } from "node:crypto";
import type { Example, Examples } from "../data/examples.ts";
import { type LoraSettings, parameterPlaces } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import { type MemoryPlan, memoryPlan } from "../model/plan.ts";
import { gpuMemoryPlan } from "../model/plan_gpu.ts";
import type { ModelSource } from "../model/source.ts";
import { nf4WeightBytes, unquantisedWeights } from "../model/weights.ts";
import type { Learner } from "../train/learner.ts";
import { defaultAdamw } from "../train/optimizer.ts";
import type { TrainSettings as LoopSettings } from "../train/settings.ts";
import { planWindows, type Windows } from "../train/windows.ts";
import type { ChosenEngine } from "./engine.ts";
import { gpuBudget } from "./gpu_memory.ts";
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
  /** The row at a position of the training order. */
  rowAt: (position: number) => Example;
  lora: LoraSettings;
  learner: Learner;
  plan: MemoryPlan;
  totalSteps: number;
}

/** Rows whose loss is measured before and after: all of a small data set, the first of a large one. */
export const measuredRows = 32;

/** Highest learning rate by number of parameters: small models need larger steps. The last one is the paper's. */
const learningRates: [below: number, rate: number][] = [[0.4e9, 2e-3], [1.5e9, 1e-3], [5e9, 5e-4], [Infinity, 2e-4]];

export function learningRateFor(parameters: number): number {
  return learningRates.find(([below]) => parameters < below)![1];
}

/** Warm-up steps for a run: those that a person chose, else at most a sixth of the steps, as the paper's 5 of 30 are. */
export function warmupFor(steps: number, { wanted, given }: { wanted: number; given: boolean }): number {
  return given ? wanted : Math.min(wanted, Math.floor(steps / 6));
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
  { examples, model }: { examples: Examples; model: string },
): Record<string, string> {
  const hash = createHash("sha256");
  for (let i = 0; i < examples.length; i++) {
    const { tokens, targets } = examples.at(i);
    hash.update(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength)).update(targets).update("\n");
  }
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

/** Numbers that training changes. */
export function trainedNumbers(config: ModelConfig, settings: TrainSettings): number {
  return parameterPlaces(config, loraSettings(settings)).reduce(
    (sum, { shape }) => sum + shape.reduce((product: number, size) => product * size, 1),
    0,
  );
}

const GiB = 2 ** 30;

/** What `auto` lets training use: 1 GiB, or half of the machine's memory where the model needs more. */
function budgets(settings: TrainSettings, machine: number): number[] {
  return settings.max_memory === "auto" ? [GiB, Math.max(GiB, machine / 2)] : [settings.max_memory * GiB];
}

/** How so many rows fall into optimiser steps. */
export function windowsOf(settings: TrainSettings, rows: number): Windows {
  return planWindows({
    rows,
    batchSize: settings.per_device_train_batch_size,
    accumulation: settings.gradient_accumulation_steps,
    maxSteps: settings.max_steps,
    epochs: settings.num_train_epochs,
  });
}

/** Tokens of the rows that are evaluated together: the first ones learnt, and those held out. */
export function evaluatedLengths(
  { examples, heldExamples }: Pick<TrainingRows, "examples" | "heldExamples">,
): number[][] {
  const first = (list: Examples, most: number) =>
    Array.from({ length: Math.min(most, list.length) }, (_, i) => list.lengthAt(i));
  return [first(examples, measuredRows), first(heldExamples, heldExamples.length)];
}

/**
 * The memory plan of a run, made before anything is loaded. Depends on settings, data and the machine's size, on the
 * CPU never on what else runs, so that a run repeats bit for bit. `lengthAt`: tokens of the row at a position of the
 * training order; `evaluated`: those of rows that are evaluated together, in order.
 */
export async function planRun(
  settings: TrainSettings,
  { engine, source, machine, positions, lengthAt, evaluated }: {
    engine: ChosenEngine;
    source: Pick<ModelSource, "config" | "tensors" | "precision" | "fourBit">;
    /** Bytes of memory that this machine, or this container, has. */
    machine: number;
    positions: number;
    lengthAt: (position: number) => number;
    evaluated: number[][];
  },
): Promise<MemoryPlan> {
  const { config } = source, trained = trainedNumbers(config, settings);
  const windowRows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps;
  const stateBytes = settings.optim === "adamw_8bit" ? 2 : 8;
  const checkpointing = settings.gradient_checkpointing === "auto"
    ? "auto"
    : settings.gradient_checkpointing === "true";
  const passTokens = (rows: number) => largestPass({ rows, windowRows, positions, lengthAt });
  const wanted = { config, windowRows, stateBytes, passTokens, checkpointing } as const;
  if (engine.kind !== "onnx") {
    const { f16, limits: { maxStorageBufferBindingSize: maxBinding } } = engine.about;
    const { bytes: budget } = await gpuBudget(engine.about, { wanted: settings.max_memory });
    // Shorter passes work in the buffers of the largest, whichever that is.
    const passes = [
      { windowRows, positions, lengthAt },
      ...evaluated.map((lengths) => {
        return { windowRows: lengths.length, positions: lengths.length, lengthAt: (i: number) => lengths[i] };
      }),
    ];
    const largest = (rows: number) => {
      const found = passes.map((pass) => largestPass({ rows, ...pass }));
      const most = (what: "tokens" | "longest") => Math.max(...found.map((pass) => pass[what]));
      return { tokens: most("tokens"), longest: most("longest") };
    };
    const about = { lora: loraSettings(settings), unquantised: unquantisedWeights(source), f16, maxBinding };
    return gpuMemoryPlan({ ...wanted, ...about, passTokens: largest, budget });
  }
  const rankSum = settings.r * settings.target_modules.length;
  let failure: unknown;
  for (const budget of budgets(settings, machine)) {
    try {
      return memoryPlan({ ...wanted, weightBytes: nf4WeightBytes(source), trained, rankSum, budget });
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Positions looked at: all windows of a small data set, the first of a large one. */
const scanned = 16_384;

/** Tokens of the pass with most, and the longest row, when windows are cut into passes of `rows` rows. */
function largestPass({ rows, windowRows, positions, lengthAt }: {
  rows: number;
  windowRows: number;
  positions: number;
  lengthAt: (position: number) => number;
}): { tokens: number; longest: number } {
  let tokens = 0, longest = 0, pass = 0;
  for (let position = 0; position < Math.min(positions, scanned); position++) {
    if (position % windowRows % rows === 0) pass = 0;
    const length = lengthAt(position);
    pass += length;
    tokens = Math.max(tokens, pass);
    longest = Math.max(longest, length);
  }
  return { tokens, longest };
}
