/**
 * The threads that run lists of kernel calls: this one and workers beside it, each with its own instance of the module over
 * one shared memory. A run comes back when the list is done; in between the others sleep.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { type Exports, kernelModule } from "./module.ts";
import workerSource from "./worker.js" with { type: "text" };

export interface Threads {
  readonly count: number;
  /** Works through the list at this address (run.wat). */
  run(list: number): void;
  /** Ends the others. */
  stop(): void;
}

export async function startThreads(memory: WebAssembly.Memory, count: number): Promise<Threads> {
  const kernels = kernelModule();
  const { run } = new WebAssembly.Instance(kernels, { env: { memory } }).exports as unknown as Exports;
  const job = Atomics.load(new Int32Array(memory.buffer, 0, 1), 0);
  await Promise.all(Array.from({ length: count - 1 }, async (_, i) => {
    const workerData = { kernels, memory, thread: i + 1, threads: count, job };
    const worker = new Worker(workerSource, { eval: true, workerData });
    await once(worker, "message");
    // The program's end does not wait for a thread that sleeps.
    worker.unref();
  }));
  return { count, run: (list) => run(list, count), stop: () => run(0, count) };
}
