/**
 * The threads that run lists of kernel calls: this one and workers beside it, each with its own instance of the module over
 * one shared memory. A run comes back when the list is done; in between the others sleep.
 */
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
  const module = kernelModule();
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Exports;
  const url = `data:text/javascript,${encodeURIComponent(workerSource)}`;
  const job = Atomics.load(new Int32Array(memory.buffer, 0, 1), 0);
  await Promise.all(Array.from({ length: count - 1 }, (_, i) => {
    const worker = new Worker(url, { type: "module" });
    const ready = new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`A thread of the WASM engine has failed: ${event.message}`));
      };
    });
    worker.postMessage({ module, memory, thread: i + 1, threads: count, job });
    return ready;
  }));
  return { count, run: (list) => run(list, count), stop: () => run(0, count) };
}
