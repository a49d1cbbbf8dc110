/** Kernels in benchmarks: tensors of random numbers and the time of a list of dispatches. */
import { type GpuTensor, makeCommands, tensorBytes } from "../../lib/webgpu/commands.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import type { Dispatch, Dtype } from "../../lib/webgpu/dispatch.ts";
import { randomFloats } from "./random.ts";

export interface Timing {
  /** Milliseconds of a run: median of ten, least, most. */
  median: number;
  least: number;
  most: number;
}

export function gpuTimer(gpu: Gpu) {
  const commands = makeCommands(gpu);

  function tensor(shape: readonly number[], dtype: Dtype, data?: ArrayBufferView): GpuTensor {
    const bytes = tensorBytes(shape, dtype);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const made: GpuTensor = { shape, dtype, buffer: gpu.device.createBuffer({ size: bytes, usage }), offset: 0, bytes };
    if (data) commands.write(made, data);
    return made;
  }

  /** Random f16 numbers between -1 and 1, one megabyte of them over and over: drawing them all takes longer than the rest. */
  function randomHalves(shape: readonly number[], seed: number): GpuTensor {
    const made = tensor(shape, "f16"), piece = new Float16Array(randomFloats(2 ** 19, seed));
    for (let at = 0; at < made.bytes; at += piece.byteLength) {
      const bytes = Math.min(piece.byteLength, made.bytes - at);
      commands.write({ ...made, offset: at, bytes }, piece.subarray(0, bytes / 2));
    }
    return made;
  }

  /**
   * Time of the dispatches, from the host: the same many times in a row, then one wait for a few bytes of `last`, a tensor
   * that the last one writes; ten such runs after those that find how many take 150 ms. (A wait takes
   * up to 10 ms by itself on Deno's WebGPU.)
   */
  async function time(dispatches: Dispatch<GpuTensor>[], last: GpuTensor): Promise<Timing> {
    const run = async (count: number) => {
      const start = performance.now();
      for (let i = 0; i < count; i++) for (const dispatch of dispatches) commands.dispatch(dispatch);
      await commands.read([{ ...last, bytes: 16 }]);
      return performance.now() - start;
    };
    await run(1); // compiles
    let count = 1;
    while (await run(count) < 150) count *= 2;
    const times: number[] = [];
    for (let i = 0; i < 10; i++) times.push(await run(count) / count);
    times.sort((a, b) => a - b);
    return { median: (times[4] + times[5]) / 2, least: times[0], most: times[9] };
  }

  return { tensor, randomHalves, time };
}
