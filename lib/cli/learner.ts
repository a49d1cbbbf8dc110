/** The loaded model with its adapter and the optimiser, on the engine that was chosen. */
import { loraScale, type LoraSettings } from "../model/adapter.ts";
import type { MemoryPlan } from "../model/plan.ts";
import type { Parameter } from "../model/trainable.ts";
import { makeTrainable, type TrainableOptions } from "../model/trainable_model.ts";
import { hostLearner, type Learner } from "../train/learner.ts";
import { makeOptimizer } from "../train/optimizer.ts";
import type { TrainSettings as LoopSettings } from "../train/settings.ts";
import type { LoadedModel } from "./load.ts";

export async function makeLearner(
  { executor, webgpu, weights, source: { config } }: LoadedModel,
  { parameters, lora, plan, settings: { optim, adamw } }: {
    parameters: Parameter[];
    lora: LoraSettings;
    plan: MemoryPlan;
    settings: LoopSettings;
  },
): Promise<Learner> {
  const options: TrainableOptions = {
    ...{ executor, config, weights, parameters, keepLayers: plan.keepLayers, headChunk: plan.headChunk },
    loraScale: loraScale(lora),
    loraDropout: lora.lora_dropout,
  };
  if (!webgpu) return hostLearner(makeTrainable(options), makeOptimizer(optim, parameters, adamw));
  const { gpuLearner } = await import("../webgpu/learner.ts");
  return gpuLearner(webgpu, {
    ...{ parameters, kind: optim, settings: adamw },
    makeModel: (placeOf) => makeTrainable({ ...options, placeOf }),
  });
}
