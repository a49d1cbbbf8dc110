/**
 * Kernels in tests: a device for each engine that this machine has (lavapipe counts), and single dispatches on host
 * arrays, every output poisoned with NaN before, so that an element that is not written shows.
 */
import assert from "node:assert/strict";
import { type Commands, type GpuTensor, makeCommands, tensorBytes } from "../../lib/webgpu/commands.ts";
import { type Gpu, type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import type { Dispatch, Dtype } from "../../lib/webgpu/dispatch.ts";

export const engines: GpuEngine[] = ["webgpu", "dawn"];

const opened = new Map<GpuEngine, Promise<Gpu>>();

/** One device an engine for the whole test process: it is never closed, drivers end badly when it is. */
export function testGpu(engine: GpuEngine): Promise<Gpu> {
  if (!opened.has(engine)) opened.set(engine, openGpu(engine));
  return opened.get(engine)!;
}

/** Set by continuous integration, where a missing adapter fails the tests instead of skipping them. */
const required = Deno.env.get("FTL_REQUIRE_GPU") === "1";

/** Engines without an adapter for tests on this machine. */
const missing = new Set<GpuEngine>();
if (!required) {
  for (const engine of engines) {
    try {
      const { name, f16 } = await testGpu(engine);
      if (!f16) throw new Error(`${name} has no f16`);
    } catch (error) {
      missing.add(engine);
      console.warn(`tests on ${engine} are skipped: ${(error as Error).message} (FTL_REQUIRE_GPU=1 makes them fail)`);
    }
  }
}

/** Declares one test for each engine; GPU devices outlive tests, so resources are not counted. */
export function gpuTest(name: string, body: (gpu: Gpu, engine: GpuEngine) => Promise<void>): void {
  for (const engine of engines) {
    Deno.test({
      name: `${engine}: ${name}`,
      ignore: missing.has(engine),
      sanitizeOps: false,
      sanitizeResources: false,
      fn: async () => await body(await testGpu(engine), engine),
    });
  }
}

/** A tensor of a test: data (rounded to f16 where the type says so), or none for an output. */
export interface TestTensor {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  data?: Float32Array | Int32Array | Uint32Array;
}

export function input(
  shape: readonly number[],
  data: Float32Array | Int32Array | Uint32Array,
  dtype?: Dtype,
): TestTensor {
  const own = data instanceof Float32Array ? "f32" : data instanceof Int32Array ? "i32" : "u32";
  return { shape, dtype: dtype ?? own, data };
}

export function output(shape: readonly number[], dtype: Dtype = "f32"): TestTensor {
  return { shape, dtype };
}

/** What rounding to f16 leaves of the values, as f32: what a reference has to be given. */
export function halved(data: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(new Float16Array(data));
}

/** Elements behind every tensor that no kernel may touch, and the pattern in them. */
const guardBytes = 256, guard = 0x7fc0ffee;

/** Runs dispatches in order and returns the tensors asked for, f16 widened to f32. */
export async function runDispatches(
  gpu: Gpu,
  dispatches: Dispatch<TestTensor>[],
  wanted: TestTensor[],
): Promise<(Float32Array | Int32Array | Uint32Array)[]> {
  const commands = makeCommands(gpu), made = new Map<TestTensor, GpuTensor>();
  for (const tensor of new Set(dispatches.flatMap(({ tensors }) => tensors.filter((tensor) => tensor !== null)))) {
    made.set(tensor, upload(gpu, commands, tensor));
  }
  for (const dispatch of dispatches) {
    commands.dispatch({ ...dispatch, tensors: dispatch.tensors.map((tensor) => tensor && made.get(tensor)!) });
  }
  const all = [...made.values()];
  const results = await commands.read(all.map((tensor) => ({ ...tensor, bytes: tensor.bytes + guardBytes })));
  results.forEach((buffer, i) => {
    const { bytes, shape } = all[i];
    const behind = new Uint32Array(buffer, bytes);
    assert.ok(behind.every((word) => word === guard), `a kernel wrote behind the tensor of shape [${shape}]`);
  });
  all.forEach(({ buffer }) => buffer.destroy());
  return wanted.map((tensor) => {
    const own = made.get(tensor)!, buffer = results[all.indexOf(own)];
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    switch (tensor.dtype) {
      case "f16":
        return Float32Array.from(new Float16Array(buffer, 0, count));
      case "f32":
        return new Float32Array(buffer, 0, count);
      case "i32":
        return new Int32Array(buffer, 0, count);
      case "u32":
        return new Uint32Array(buffer, 0, count);
    }
  });
}

function upload({ device }: Gpu, commands: Commands, { shape, dtype, data }: TestTensor): GpuTensor {
  const bytes = tensorBytes(shape, dtype);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const buffer = device.createBuffer({ size: bytes + guardBytes, usage });
  const tensor: GpuTensor = { shape, dtype, buffer, offset: 0, bytes };
  // Every word a NaN, in f32 and as two f16; integers become large numbers.
  const words = new Uint32Array((bytes + guardBytes) / 4).fill(0x7fff7fff, 0, bytes / 4).fill(guard, bytes / 4);
  if (data) {
    const typed = dtype === "f16" ? new Float16Array(data as Float32Array) : data;
    new Uint8Array(words.buffer).set(new Uint8Array(typed.buffer as ArrayBuffer, typed.byteOffset, typed.byteLength));
  }
  commands.write(tensor, words);
  return tensor;
}
