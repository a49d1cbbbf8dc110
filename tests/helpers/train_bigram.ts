/** Runs lib/train/loop.ts on the bigram model with settings that single tests change, and collects its events. */
import { join } from "node:path";
import type { Row, Trainable } from "../../lib/model/trainable.ts";
import type { TrainEvent, TrainResult } from "../../lib/train/events.ts";
import { train } from "../../lib/train/loop.ts";
import { hostLearner } from "../../lib/train/learner.ts";
import { defaultAdamw, makeOptimizer } from "../../lib/train/optimizer.ts";
import type { TrainOptions, TrainSettings } from "../../lib/train/settings.ts";
import { bigramModel, bigramRows } from "./bigram_model.ts";

export const defaults: TrainSettings = {
  maxSteps: 10,
  numTrainEpochs: 3,
  perDeviceTrainBatchSize: 2,
  gradientAccumulationSteps: 4,
  learningRate: 0.01,
  lrSchedulerType: "linear",
  warmupSteps: 2,
  optim: "adamw_8bit",
  adamw: defaultAdamw,
  maxGradNorm: 1,
  seed: 3407,
  evalSteps: 0,
  earlyStoppingPatience: 0,
  saveSteps: 3,
  saveTotalLimit: 2,
};

export interface BigramRun extends Partial<Omit<TrainOptions, "rows" | "settings" | "learner">> {
  model?: Trainable;
  rows?: Row[];
  settings?: Partial<TrainSettings>;
}

export async function trainBigram(
  { rows = bigramRows(16), settings, model = bigramModel(), onEvent, ...rest }: BigramRun = {},
): Promise<{ events: TrainEvent[]; result: TrainResult; model: Trainable }> {
  const events: TrainEvent[] = [], whole = { ...defaults, ...settings };
  const result = await train({
    learner: hostLearner(model, makeOptimizer(whole.optim, model.parameters, whole.adamw)),
    rows: rows.length,
    rowAt: (position) => rows[position % rows.length],
    rowsPerPass: 8,
    settings: whole,
    ...rest,
    onEvent: (event) => {
      events.push(event);
      onEvent?.(event);
    },
  });
  return { events, result, model };
}

/** Calls `body` with the paths of a run in a folder that is removed afterwards. */
export async function inTemporaryFolder(
  body: (files: { checkpoints: string; log: string }, folder: string) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await body({ checkpoints: join(folder, "checkpoints"), log: join(folder, "log.jsonl") }, folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}
