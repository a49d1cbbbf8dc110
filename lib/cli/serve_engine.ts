/** Where the server's engine is made: the one place that knows both the loaded model and what `ftl serve` was told. */
import { UserError } from "../errors.ts";
import type { Engine } from "../serve/engine.ts";
import type { LoadedModel } from "./load.ts";

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

export function makeEngine(_request: EngineRequest): Promise<Engine> {
  return Promise.reject(new UserError("This build of ftl cannot serve models yet: it has no engine for it"));
}
