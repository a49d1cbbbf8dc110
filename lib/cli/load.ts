/**
 * A model made ready for use by the commands: found or fetched, opened, its tokenizer built, its frozen weights given to
 * an executor as 4-bit NF4 (prepared once, kept in the cache folder).
 */
import { join } from "node:path";
import { elementCount } from "../formats/tensor_file.ts";
import { attachAdapter } from "../model/adapter.ts";
import type { Generator } from "../model/generate.ts";
import type { LoadedAdapter } from "../model/load_adapter.ts";
import { type ModelSource, openModel } from "../model/source.ts";
import { type LoadedWeights, loadWeights } from "../model/weights.ts";
import { createOnnxExecutor } from "../onnx/executor.ts";
import { createManyRows } from "../onnx/product.ts";
import type { Executor } from "../ops.ts";
import { type Tokenizer, tokenizerFromGguf, tokenizerFromJson } from "../text/tokenizer.ts";
import { createWasmExecutor, type WasmExecutor } from "../wasm/executor.ts";
import { mostBytes } from "../wasm/memory.ts";
import type { Ceilings } from "../webgpu/ceilings.ts";
import type { WebgpuExecutor } from "../webgpu/executor.ts";
import type { Profile } from "../webgpu/profile.ts";
import type { ChosenEngine } from "./engine.ts";
import { fetchModel } from "./pull.ts";
import { progressBar } from "./progress.ts";
import { cacheFolder } from "./terminal.ts";

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
  /** The executor as the WASM engine, or as a GPU's, where it is one. */
  wasm?: WasmExecutor;
  webgpu?: WebgpuExecutor;
  weights: LoadedWeights;
  /** Times of kernels, where they were asked for and the engine takes any. */
  profile?: KernelTimes;
  /** Frees memory and files. */
  close(): Promise<void>;
}

/** A loaded model as it answers: alone, or with an adapter on it. */
export async function generatorOf(
  { executor, weights, source: { config } }: LoadedModel,
  adapter: LoadedAdapter | null,
): Promise<Generator> {
  if (!adapter) return { executor, config, weights };
  const { parameters, settings } = adapter;
  const attached = await attachAdapter(parameters, { executor, weights, config, settings });
  return { executor, config, weights, adapter: attached };
}

export interface KernelTimes extends Pick<Profile, "reset" | "result"> {
  /** What the device reaches at best. */
  ceilings(): Promise<Ceilings>;
}

/** Finds or fetches a model and opens it. */
export async function openNamedModel(name: string): Promise<OpenedModel> {
  const source = openModel(await fetchModel(name));
  const parameters = source.tensors.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0);
  return { source, tokenizer: tokenizerOf(source), parameters };
}

/** The same model with its files open, after they were closed. */
export function reopened(model: OpenedModel): OpenedModel {
  return { ...model, source: openModel(model.source.path) };
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
  /** Take times of every GPU kernel. */
  profile?: boolean;
}

/** Loads the weights into the engine's executor, quantised to NF4. */
export async function loadOpenedModel(model: OpenedModel, options: LoadOptions): Promise<LoadedModel> {
  const { close, ...made } = await makeExecutor(model, options);
  const bar = progressBar();
  try {
    const weights = loadWeights(model.source, made.executor, {
      linear: "nf4",
      cacheDir: join(cacheFolder(), "weights"),
      progress: (done, total, what) => bar.show(what, done / total, `${total} tensors`),
    });
    return {
      ...model,
      ...made,
      engine: options.engine,
      weights,
      async close() {
        await close();
        model.source.close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  } finally {
    bar.end();
  }
}

/** The executor of an engine. What GPUs need is loaded only here. */
async function makeExecutor(
  model: OpenedModel,
  { engine, threads, purpose, profile }: LoadOptions,
): Promise<Pick<LoadedModel, "executor" | "wasm" | "webgpu" | "profile" | "close">> {
  if (engine.kind === "onnx") {
    const wasm = purpose === "answers" && fitsWasm(model.source) ? await answeringExecutor(model, threads) : undefined;
    const executor = wasm ?? createOnnxExecutor({ threads });
    return { executor, wasm, close: () => executor.dispose() };
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

/** Bytes of a model's weights in NF4, the other tensors at most f32. */
function weightBytes({ tensors }: ModelSource): number {
  return tensors.reduce((sum, { role, shape }) => sum + elementCount(shape) * (role === "linear" ? 9 / 16 : 4), 0);
}

/** Whether the WASM engine's memory has room for the weights and a GiB of keys and values. */
export function fitsWasm(source: ModelSource): boolean {
  return weightBytes(source) + 2 ** 30 < mostBytes;
}

/**
 * The WASM engine. Where all weights in f32 fit into a quarter of the machine's memory, prompts are read with them by ONNX
 * Runtime, in half the time.
 */
async function answeringExecutor({ parameters }: OpenedModel, threads: number): Promise<WasmExecutor> {
  const manyRows = parameters * 4 < Deno.systemMemoryInfo().total / 4 ? createManyRows({ threads }) : undefined;
  return await createWasmExecutor({ threads, manyRows });
}

/** 134515008 -> "135M", 4884480 -> "4.9M" */
export function showCount(count: number): string {
  const [unit, name] = count < 999_500 ? [1e3, "K"] : count < 999.5e6 ? [1e6, "M"] : [1e9, "B"] as const;
  const value = count / unit;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)}${name}`;
}
