/** What a training run writes to the disk, in bytes. */
import { join } from "node:path";
import { type GgufKind, ggufTensorBytes } from "../export/gguf_kinds.ts";
import { missingCacheBytes } from "../model/weights.ts";
import type { OpenedModel } from "./load.ts";
import { freeDisk } from "./machine.ts";
import type { TrainSettings } from "./resolve.ts";
import { cacheFolder } from "./terminal.ts";

export interface DiskPlan {
  /** Quantised weights, kept in the cache folder for the next time; 0 where they are there already. */
  cache: number;
  checkpoints: number;
  adapter: number;
  exports: number;
  /** Free on the disks of the cache folder and of the run. */
  free: { cache?: number; run?: number };
}

export function diskOf(
  { source, parameters }: OpenedModel,
  { settings, trained }: { settings: TrainSettings; trained: number },
): DiskPlan {
  const folder = join(cacheFolder(), "weights");
  // A checkpoint holds A and B in f32 and two states: bytes with maxima of 256, or f32.
  const state = settings.optim === "adamw_8bit" ? 2 + 8 / 256 : 8;
  return {
    cache: missingCacheBytes(source, folder),
    checkpoints: settings.save_total_limit * trained * (4 + state),
    adapter: 4 * trained,
    exports: settings.export.reduce((sum, format) => {
      // A GGUF adapter holds the trained numbers only.
      if (format === "lora") return sum + 4 * trained;
      if (format === "safetensors") return sum + 2 * parameters;
      return sum + ggufTensorBytes(source, format.toUpperCase() as GgufKind);
    }, 0),
    free: { cache: freeDisk(folder), run: freeDisk(settings.output_dir ?? Deno.cwd()) },
  };
}
