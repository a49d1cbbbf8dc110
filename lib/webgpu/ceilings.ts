/**
 * What a device reaches at best, measured on it in about a second: bytes moved by a large copy, and floating-point
 * operations of a large product with the kernel that training uses. Kernels of a profile are compared with these.
 */
import { type GpuTensor, makeCommands, tensorBytes } from "./commands.ts";
import type { Gpu } from "./device.ts";
import type { Dtype, KernelTarget } from "./dispatch.ts";
import { gemm } from "./gemm_kernels.ts";

export interface Ceilings {
  /** GB/s, read and written together. */
  gbs: number;
  tflops: number;
}

/** Measurements that take less are repeated: waiting for a GPU alone can take 0.01 s. */
const enoughSeconds = 0.25;
const MiB = 2 ** 20;

export async function measureCeilings(gpu: Gpu, target: KernelTarget): Promise<Ceilings> {
  const { device, limits } = gpu, commands = makeCommands(gpu), made: GpuTensor[] = [];
  const dtype: Dtype = target.f16 ? "f16" : "f32";

  function tensor(shape: number[], type: Dtype): GpuTensor {
    const bytes = tensorBytes(shape, type);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    made.push({ shape, dtype: type, buffer: device.createBuffer({ size: bytes, usage }), offset: 0, bytes });
    return made.at(-1)!;
  }

  /** Seconds of one repetition, warmed up. */
  async function secondsOf(work: () => void, result: GpuTensor): Promise<number> {
    for (let times = 1;;) {
      const start = performance.now();
      for (let i = 0; i < times; i++) work();
      await commands.read([{ ...result, bytes: 16 }]);
      const seconds = (performance.now() - start) / 1000;
      if (times > 1 && seconds > enoughSeconds) return seconds / times;
      times = Math.max(2, Math.ceil(times * Math.min(16, 1.2 * enoughSeconds / seconds)));
    }
  }

  async function copyRate(): Promise<number> {
    const bytes = Math.min(256 * MiB, limits.maxStorageBufferBindingSize);
    const [from, to] = [tensor([bytes / 4], "f32"), tensor([bytes / 4], "f32")];
    return 2 * bytes / await secondsOf(() => commands.copy(from, to, to.bytes), to) / 1e9;
  }

  async function productRate(size: number): Promise<number> {
    const [a, b, y] = [tensor([size, size], dtype), tensor([size, size], dtype), tensor([size, size], "f32")];
    const dispatches = gemm(target, { a, b, transB: true, y });
    return 2 * size ** 3 / await secondsOf(() => dispatches.forEach((dispatch) => commands.dispatch(dispatch)), y) /
      1e12;
  }

  try {
    return { gbs: await copyRate(), tflops: await productRate(gpu.software ? 256 : 4096) };
  } finally {
    for (const { buffer } of made) buffer.destroy();
    commands.close();
  }
}
