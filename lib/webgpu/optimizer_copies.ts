/**
 * Values and moments of an optimiser between the host's arrays, one a parameter as checkpoints hold them, and the GPU's
 * arenas. Moments of the first `coded` blocks are codes with a maximum a block, those of the others f32.
 */
import type { Parameter } from "../model/trainable.ts";
import type { OptimizerState } from "../train/optimizer.ts";
import type { Arena } from "./arena.ts";
import type { Commands, GpuTensor } from "./commands.ts";
import { tensorBytes } from "./commands.ts";
import type { Dtype } from "./dispatch.ts";
import { block } from "./optimizer_kernels.ts";

export interface OptimizerCopies {
  /** u32 [coded, 128] and f32 [coded, 2], where any parameter has 8-bit moments: see kernels/adamw_8bit.wgsl. */
  codes?: GpuTensor;
  maxima?: GpuTensor;
  /** First and second moments f32 [blocks - coded, 256], where any parameter has f32 moments. */
  moments?: [GpuTensor, GpuTensor];
  pull(): Promise<void>;
  push(): void;
}

interface CopiesOptions {
  commands: Commands;
  allocate(shape: readonly number[], dtype: Dtype): GpuTensor;
  arena: Arena;
  values: GpuTensor;
  parameters: Parameter[];
  /** The host's state, of lib/train's optimisers. */
  tensors: OptimizerState["tensors"];
}

/** Bytes read at a time: memory for reading is kept. */
const pieceBytes = 2 ** 26;

export function makeOptimizerCopies(options: CopiesOptions): OptimizerCopies {
  const { commands, allocate, arena: { blocks, coded, starts }, values, parameters, tensors } = options;
  const full = blocks - coded;
  const codes = coded > 0 ? allocate([coded, 128], "u32") : undefined;
  const maxima = coded > 0 ? allocate([coded, 2], "f32") : undefined;
  const moments: [GpuTensor, GpuTensor] | undefined = full > 0
    ? [allocate([full, block], "f32"), allocate([full, block], "f32")]
    : undefined;

  /** A parameter's state by the end of its name; `full` where its moments are f32. */
  const states = parameters.map(({ name }, i) => {
    const at = (suffix: string) => tensors.get(`${name}.${suffix}`);
    const [first, second] = [at("state1") ?? at("exp_avg"), at("state2") ?? at("exp_avg_sq")];
    const largest = [at("absmax1"), at("absmax2")] as [Float32Array, Float32Array];
    return { start: starts[i], first: first!, second: second!, largest };
  });

  /** Moves every parameter's state between its arrays and buffers as large as the GPU's. */
  function eachState(
    buffers: { codes: Uint8Array; maxima: Float32Array; moments: Float32Array[] },
    direction: "in" | "out",
  ): void {
    const move = (own: Float32Array | Uint8Array, large: Float32Array | Uint8Array) =>
      direction === "out" ? large.set(own) : own.set(large);
    for (const { start, first, second, largest } of states) {
      for (const [part, state] of [first, second].entries()) {
        if (start >= coded) {
          const at = (start - coded) * block;
          move(state, buffers.moments[part].subarray(at, at + state.length));
          continue;
        }
        for (let b = 0; b * block < state.length; b++) {
          const own = state.subarray(b * block, (b + 1) * block), at = (2 * (start + b) + part) * block;
          move(own, buffers.codes.subarray(at, at + own.length));
          const place = 2 * (start + b) + part;
          move(largest[part].subarray(b, b + 1), buffers.maxima.subarray(place, place + 1));
        }
      }
    }
  }

  async function read(tensor: GpuTensor | undefined): Promise<ArrayBuffer> {
    const size = tensor ? tensorBytes(tensor.shape, tensor.dtype) : 0, whole = new Uint8Array(size);
    for (let at = 0; at < size; at += pieceBytes) {
      const bytes = Math.min(pieceBytes, size - at);
      const [piece] = await commands.read([{ ...tensor!, offset: tensor!.offset + at, bytes }]);
      whole.set(new Uint8Array(piece), at);
    }
    return whole.buffer;
  }

  return {
    ...{ codes, maxima, moments },
    async pull() {
      const arena = new Float32Array(await read(values));
      parameters.forEach(({ value }, i) =>
        value.set(arena.subarray(starts[i] * block, starts[i] * block + value.length))
      );
      eachState({
        codes: new Uint8Array(await read(codes)),
        maxima: new Float32Array(await read(maxima)),
        moments: [new Float32Array(await read(moments?.[0])), new Float32Array(await read(moments?.[1]))],
      }, "in");
    },
    push() {
      const arena = new Float32Array(blocks * block);
      parameters.forEach(({ value }, i) => arena.set(value, starts[i] * block));
      commands.write(values, arena);
      const buffers = {
        codes: new Uint8Array(coded * 2 * block),
        maxima: new Float32Array(coded * 2),
        moments: [new Float32Array(full * block), new Float32Array(full * block)],
      };
      eachState(buffers, "out");
      if (codes && maxima) {
        commands.write(codes, buffers.codes);
        commands.write(maxima, buffers.maxima);
      }
      moments?.forEach((moment, part) => commands.write(moment, buffers.moments[part]));
    },
  };
}
