/**
 * Time of every dispatch by GPU timestamps, summed up by kernel. While a profile is taken each dispatch has a compute
 * pass of its own, which costs some microseconds each: times of kernels are right, the sum is more than an ordinary step.
 */
import type { Gpu } from "./device.ts";
import type { Dispatch } from "./dispatch.ts";

export interface KernelProfile {
  kernel: string;
  calls: number;
  ms: number;
  /** TFLOP/s and GB/s; NaN where the kernel does not say what it does. */
  tflops: number;
  gbs: number;
}

export interface Profile {
  /** Where the next dispatch writes its timestamps. */
  next(dispatch: Dispatch): GPUComputePassTimestampWrites | undefined;
  resolve(encoder: GPUCommandEncoder): void;
  /** Waits for the last times and returns the sums, longest first. */
  result(): Promise<KernelProfile[]>;
  reset(): void;
}

const most = 2048;

export function makeProfile({ device }: Gpu): Profile {
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 * most });
  const bytes = 16 * most;
  const resolved = device.createBuffer({ size: bytes, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  const sums = new Map<string, { calls: number; ms: number; flop: number; bytes: number }>();
  let current: Dispatch[] = [];
  let waiting: Promise<void>[] = [];

  function label({ kernel, constants }: Dispatch): string {
    const values = Object.entries(constants ?? {}).map(([name, value]) => `${name}=${value}`).join(" ");
    return values ? `${kernel} ${values}` : kernel;
  }

  return {
    next(dispatch) {
      if (current.length >= most) return undefined;
      current.push(dispatch);
      const beginningOfPassWriteIndex = 2 * (current.length - 1);
      return { querySet, beginningOfPassWriteIndex, endOfPassWriteIndex: beginningOfPassWriteIndex + 1 };
    },
    resolve(encoder) {
      if (current.length === 0) return;
      const dispatches = current, size = 16 * dispatches.length;
      current = [];
      const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
      const target = device.createBuffer({ size, usage });
      encoder.resolveQuerySet(querySet, 0, 2 * dispatches.length, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, target, 0, size);
      waiting.push((async () => {
        await new Promise((resolve) => setTimeout(resolve)); // mapping must come after the submission
        await target.mapAsync(GPUMapMode.READ);
        const times = new BigUint64Array(target.getMappedRange());
        dispatches.forEach((dispatch, i) => {
          const name = label(dispatch), sum = sums.get(name) ?? { calls: 0, ms: 0, flop: 0, bytes: 0 };
          sum.calls++;
          sum.ms += Number(times[2 * i + 1] - times[2 * i]) / 1e6;
          sum.flop += dispatch.work?.flop ?? NaN;
          sum.bytes += dispatch.work?.bytes ?? NaN;
          sums.set(name, sum);
        });
        target.destroy();
      })());
    },

    async result() {
      await Promise.all(waiting);
      waiting = [];
      return Array.from(sums, ([kernel, { calls, ms, flop, bytes }]) => {
        return { kernel, calls, ms, tflops: flop / ms / 1e9, gbs: bytes / ms / 1e6 };
      }).sort((a, b) => b.ms - a.ms);
    },
    reset: () => sums.clear(),
  };
}
