/**
 * The optimisers of lib/train on the GPU: values, gradients and moments in arenas, one step in a few kernel calls that
 * read the gradient's norm where it is computed. State and arithmetic are those of the CPU's, so that a run may go on on
 * either; results agree up to the rounding of division and square root. What a step needs from the host is one buffer of
 * 16 numbers; what the host needs from a step is `control`.
 */
import type { Parameter } from "../model/trainable.ts";
import { codeTable, dynamicMap } from "../quant/dynamic_map.ts";
import { smallest8bit } from "../train/adamw_8bit.ts";
import { stepConstants } from "../train/adamw_kernel.ts";
import { type AdamwSettings, makeOptimizer, type OptimizerName, type OptimizerState } from "../train/optimizer.ts";
import { layOutArena, partsOf, rowsOf } from "./arena.ts";
import { type Commands, type GpuTensor, tensorBytes } from "./commands.ts";
import type { Dispatch, Dtype } from "./dispatch.ts";
import { cast } from "./elementwise_kernels.ts";
import { adamw, adamw8bit, block, gradientNorm, optimizerControl, sumsOf } from "./optimizer_kernels.ts";
import { makeOptimizerCopies } from "./optimizer_copies.ts";

export interface GpuOptimizerOptions {
  commands: Commands;
  /** Makes a tensor whose contents may be anything. */
  allocate(shape: readonly number[], dtype: Dtype): GpuTensor;
  maxBinding: number;
  kind: OptimizerName;
  parameters: Parameter[];
  settings: AdamwSettings;
  /** Keep the values in f16 too, as products take them. */
  halfCopy: boolean;
}

/** Where a parameter lies in the arenas. */
export interface GpuParameter {
  value: GpuTensor;
  grad: GpuTensor;
  half?: GpuTensor;
}

export interface GpuOptimizer {
  /** Arenas, f32 [blocks, 256] and f16. */
  values: GpuTensor;
  grads: GpuTensor;
  half?: GpuTensor;
  /** Element of the arenas where parameter i begins: a multiple of 256. */
  offsetOf(i: number): number;
  /** Parameter i as tensors of its own shape. */
  placeOf(i: number): GpuParameter;
  /** Encodes norm, clipping and update. `unscale` is what the gradients are multiplied with first: 1 / scale of the loss. */
  encodeStep(options: { learningRate: number; maxGradNorm: number; unscale: number }): void;
  /** f32 [16], to be read after a step and given to `finishStep`. */
  control: GpuTensor;
  /** What became of the step. Where `finite` is false, nothing was changed and the step does not count. */
  finishStep(control: Float32Array): { gradNorm: number; finite: boolean };
  /** Host copies: true after `pull`, in force after `push`. */
  state(): OptimizerState;
  load(state: OptimizerState): void;
  /** Brings the parameters' `value` and the state up to date. */
  pull(): Promise<void>;
  /** Hands the parameters' `value` and the state to the GPU. */
  push(): void;
}

export function makeGpuOptimizer(options: GpuOptimizerOptions): GpuOptimizer {
  const { commands, allocate, maxBinding, kind, parameters, settings, halfCopy } = options;
  const isCoded = (size: number) => kind === "adamw_8bit" && size >= smallest8bit;
  const arena = layOutArena(parameters.map(({ value }) => value.length), isCoded), { blocks, coded, starts } = arena;
  // Names, kinds and lengths of the state are the CPU's: its optimiser holds the host copies.
  const host = makeOptimizer(kind, parameters, settings);
  let taken = 0;

  const values = allocate([blocks, block], "f32"), grads = allocate([blocks, block], "f32");
  const half = halfCopy ? allocate([blocks, block], "f16") : undefined;
  const scalars = allocate([16], "f32"), control = allocate([16], "f32");
  const lengths = written(arena.lengths, "u32");
  const copies = makeOptimizerCopies({ commands, allocate, arena, values, parameters, tensors: host.state().tensors });

  function written(data: Uint32Array, dtype: Dtype): GpuTensor {
    const tensor = allocate([data.length], dtype);
    commands.write(tensor, data);
    return tensor;
  }

  const allParts = partsOf(0, blocks, { maxBinding, blockBytes: block * 4 });
  const copiesInHalf = half
    ? allParts.map(([start, end]) => cast(rowsOf(values, start, end), rowsOf(half, start, end)))
    : [];
  const step = stepDispatches();

  function stepDispatches(): Dispatch<GpuTensor>[] {
    const dispatches: Dispatch<GpuTensor>[] = [];
    const count = allParts.reduce((sum, [start, end]) => sum + sumsOf(end - start), 0);
    const sums = allocate([count], "f32");
    let first = 0;
    for (const [start, end] of allParts) {
      const part = { lengths: rowsOf(lengths, start, end), g: rowsOf(grads, start, end) };
      dispatches.push(gradientNorm({ ...part, scalars, sums }, { first }));
      first += sumsOf(end - start);
    }
    dispatches.push(optimizerControl({ scalars, sums, control }));
    const shared = (start: number, end: number) => ({
      lengths: rowsOf(lengths, start, end),
      control,
      grad: rowsOf(grads, start, end),
      w: rowsOf(values, start, end),
    });
    const tables = coded > 0 ? written(codeTables(), "u32") : undefined;
    for (const [start, end] of partsOf(0, coded, { maxBinding, blockBytes: block * 4 })) {
      const codes = rowsOf(copies.codes!, start, end), maxima = rowsOf(copies.maxima!, start, end);
      dispatches.push(adamw8bit({ ...shared(start, end), tables: tables!, codes, maxima }));
    }
    const form = kind === "adamw_8bit" ? "bitsandbytes" : "torch";
    for (const [start, end] of partsOf(coded, blocks, { maxBinding, blockBytes: block * 4 })) {
      const [m, v] = copies.moments!.map((moment) => rowsOf(moment, start - coded, end - coded));
      dispatches.push(adamw({ ...shared(start, end), m, v }, { form }));
    }
    return [...dispatches, ...copiesInHalf];
  }

  function placeOf(i: number): GpuParameter {
    const { shape } = parameters[i], start = starts[i] * block;
    const within = (tensor: GpuTensor, size: number): GpuTensor => ({
      ...{ ...tensor, shape, offset: tensor.offset + start * size },
      bytes: tensorBytes(shape, tensor.dtype),
    });
    return { value: within(values, 4), grad: within(grads, 4), half: half && within(half, 2) };
  }

  function push(): void {
    copies.push();
    for (const dispatch of copiesInHalf) commands.dispatch(dispatch);
  }

  push();
  return {
    ...{ values, grads, half, control, placeOf, push },
    offsetOf: (i) => starts[i] * block,
    encodeStep({ learningRate: lr, maxGradNorm, unscale }) {
      const { beta1, beta2, eps } = settings;
      const { correction1, root, decay } = stepConstants(taken + 1, { lr, ...settings });
      const rate = -lr / correction1;
      commands.write(
        scalars,
        Float32Array.of(
          ...[unscale, maxGradNorm, 0, 0],
          ...[decay, rate, root, eps, rate * root, eps * root],
          ...[beta1, beta2, 1 - beta1, 1 - beta2, 0, 0],
        ),
      );
      for (const dispatch of step) commands.dispatch(dispatch);
    },
    finishStep([norm, _clip, finite]) {
      if (finite !== 1) return { gradNorm: NaN, finite: false };
      taken++;
      return { gradNorm: norm, finite: true };
    },
    state: () => ({ ...host.state(), step: taken }),
    load(state) {
      host.load(state);
      taken = state.step;
    },
    pull: copies.pull,
  };
}

/** The maps of both moments as f32 bits, then their tables of codes. */
function codeTables(): Uint32Array<ArrayBuffer> {
  const maps = [dynamicMap(true), dynamicMap(false)], tables = maps.map(codeTable);
  const bytes = new Uint8Array(2 * 1024 + 2 * 65_536);
  maps.forEach((map, i) => bytes.set(new Uint8Array(map.buffer), 1024 * i));
  tables.forEach((table, i) => bytes.set(table, 2048 + 65_536 * i));
  return new Uint32Array(bytes.buffer);
}
