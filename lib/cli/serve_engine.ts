/** Where the server's engine is made: the one place that knows both the loaded model and what `ftl serve` was told. */
import { planCache } from "../serve/cache_plan.ts";
import type { Engine } from "../serve/engine.ts";
import { makeEngine as makeTokenEngine } from "../serve/make_engine.ts";
import type { LoadedModel } from "./load.ts";
import { machineMemory } from "./machine.ts";

export interface EngineRequest {
  model: LoadedModel;
  /** The base model's id and its other names. */
  base: { id: string; aliases: string[] };
  adapters: { id: string; folder: string; aliases: string[] }[];
  /** 0: as many as the model was made for. */
  contextLength: number;
  /** Answers at a time, and requests that may wait. */
  parallel: number;
  maxQueue: number;
}

/** Pieces of prompts on a GPU, which reads 256 tokens in the time of a few answers' next one. */
export const gpuChunks = { chunk: 256, chunkAlone: 2048 };

export async function makeEngine(request: EngineRequest): Promise<Engine> {
  const { executor, weights, wasm, webgpu, source: { config, path } } = request.model;
  const { slots, contextLength } = planCache(config, {
    memory: Math.min(cacheMemory(webgpu !== undefined), wasm ? wasm.room() - working : Infinity),
    slots: request.parallel,
    contextLength: request.contextLength || config.maxPositions,
    bytesPerNumber: webgpu?.target.f16 ? 2 : 4,
  });
  const engine = makeTokenEngine({
    base: { executor, config, weights },
    ...request.base,
    created: Math.floor((Deno.statSync(path).mtime?.getTime() ?? 0) / 1000),
    slots,
    contextLength,
    queue: request.maxQueue,
    ...webgpu ? gpuChunks : {},
  });
  for (const adapter of request.adapters) await engine.addAdapter(adapter);
  return engine;
}

/** What the WASM engine needs of its memory besides: adapters, and values of a pass. */
const working = 2 ** 29;

/**
 * Bytes for keys and values: a quarter of what the machine has to give. WebGPU does not say what a card has left, so that
 * there it is 2 GiB, which a card that trains the model has too.
 */
function cacheMemory(gpu: boolean): number {
  return gpu ? 2 * 2 ** 30 : Math.max(2 ** 28, machineMemory().available / 4);
}
