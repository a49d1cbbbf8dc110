/**
 * A model made ready for use by the commands: found or fetched, opened, its tokenizer built, its frozen weights given to
 * an executor as 4-bit NF4 (prepared once, kept in the cache folder).
 */
import { join } from "node:path";
import { elementCount } from "../formats/tensor_file.ts";
import { type ModelSource, openModel } from "../model/source.ts";
import { type LoadedWeights, loadWeights } from "../model/weights.ts";
import { createOnnxExecutor } from "../onnx/executor.ts";
import type { Executor } from "../ops.ts";
import { type Tokenizer, tokenizerFromGguf, tokenizerFromJson } from "../text/tokenizer.ts";
import type { Ceilings } from "../webgpu/ceilings.ts";
import type { WebgpuExecutor } from "../webgpu/executor.ts";
import type { Profile } from "../webgpu/profile.ts";
import type { ChosenEngine } from "./engine.ts";
import { fetchModel } from "./pull.ts";
import { progressBar } from "./progress.ts";
import { cacheFolder, dropNetwork } from "./terminal.ts";

/** A model's files, without its weights. */
export interface OpenedModel {
  source: ModelSource;
  tokenizer: Tokenizer;
  /** Number of its parameters. */
  parameters: number;
}

export interface LoadedModel extends OpenedModel {
  engine: ChosenEngine;
  executor: Executor;
  /** The executor as a GPU's, where it is one. */
  webgpu?: WebgpuExecutor;
  weights: LoadedWeights;
  /** Times of kernels, where they were asked for and the engine takes any. */
  profile?: KernelTimes;
  /** Frees memory and files. */
  close(): Promise<void>;
}

export interface KernelTimes extends Pick<Profile, "reset" | "result"> {
  /** What the device reaches at best. */
  ceilings(): Promise<Ceilings>;
}

/** Finds or fetches a model and opens it. Afterwards the process has no network any more. */
export async function openNamedModel(name: string): Promise<OpenedModel> {
  const path = await fetchModel(name);
  await dropNetwork();
  const source = openModel(path);
  const parameters = source.tensors.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0);
  return { source, tokenizer: tokenizerOf(source), parameters };
}

export function tokenizerOf(source: ModelSource): Tokenizer {
  const found = source.tokenizer();
  return found.kind === "json" ? tokenizerFromJson(found.files) : tokenizerFromGguf(found.metadata, found.source);
}

export interface LoadOptions {
  engine: ChosenEngine;
  /** CPU threads; 0: all cores. */
  threads: number;
  purpose: "training" | "answers";
  /** Answers on the CPU with weights in 8 bits (lib/onnx/int8.ts). */
  int8?: boolean;
  /** Take times of every GPU kernel. */
  profile?: boolean;
}

/**
 * Loads the weights into the engine's executor, quantised to NF4. For answering on the CPU, where they fit into a
 * quarter of the machine's memory, the same numbers are held in f32: a token costs half as much time.
 */
export async function loadOpenedModel(model: OpenedModel, options: LoadOptions): Promise<LoadedModel> {
  const { engine, purpose, int8 } = options;
  const fits = engine.kind === "onnx" && model.parameters * 4 < Deno.systemMemoryInfo().total / 4;
  const { close, ...made } = await makeExecutor(options), { executor } = made;
  const bar = progressBar();
  const weights = loadWeights(model.source, executor, {
    linear: purpose === "answers" && fits && !int8 ? "dequantised" : "nf4",
    cacheDir: join(cacheFolder(), "weights"),
    progress: (done, total) => bar.show("loading", done / total, `${total} tensors`),
  });
  bar.end();
  return {
    ...model,
    ...made,
    engine,
    weights,
    async close() {
      await close();
      model.source.close();
    },
  };
}

/** The executor of an engine. What GPUs need is loaded only here. */
async function makeExecutor(
  { engine, threads, int8, profile }: LoadOptions,
): Promise<Pick<LoadedModel, "executor" | "webgpu" | "profile" | "close">> {
  if (engine.kind === "onnx") {
    const executor = createOnnxExecutor({ threads, int8 });
    return { executor, close: () => executor.dispose() };
  }
  const [{ openGpu }, { createWebgpuExecutor }, { measureCeilings }] = await Promise.all([
    import("../webgpu/device.ts"),
    import("../webgpu/executor.ts"),
    import("../webgpu/ceilings.ts"),
  ]);
  const gpu = await openGpu(engine.kind);
  const executor = createWebgpuExecutor(gpu, { profile });
  return {
    executor,
    webgpu: executor,
    profile: executor.profile && {
      reset: executor.profile.reset,
      result: executor.profile.result,
      ceilings: () => measureCeilings(gpu, executor.target),
    },
    async close() {
      await executor.dispose();
      gpu.close();
    },
  };
}

/** 134515008 -> "135M", 4884480 -> "4.9M" */
export function showCount(count: number): string {
  const [unit, name] = count < 999_500 ? [1e3, "K"] : count < 999.5e6 ? [1e6, "M"] : [1e9, "B"] as const;
  const value = count / unit;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)}${name}`;
}
