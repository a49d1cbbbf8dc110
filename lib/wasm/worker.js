/**
 * A thread beside the main one, as text for a worker (threads.ts): it works through lists of kernel calls until it is told
 * to end, and hears nothing of events meanwhile.
 */
const { parentPort, workerData } = require("node:worker_threads");
const { kernels, memory, thread, threads, job } = workerData;
const instance = new WebAssembly.Instance(kernels, { env: { memory } });
parentPort.postMessage("ready");
instance.exports.work(thread, threads, job);
