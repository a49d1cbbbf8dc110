/**
 * A thread that decodes pieces of NF4 weights beside the main one, as text for a worker (nf4_decoder.ts). A message
 * names the memory of a decoder, with this thread's slots in it; they are worked through in turn until they are closed.
 */
const { parentPort, workerData } = require("node:worker_threads");
const { kernel, slotState } = workerData;
const decoders = new Map();

parentPort.on("message", ({ id, memory, slots }) => {
  let decoder = decoders.get(id);
  if (!decoder) {
    const { exports } = new WebAssembly.Instance(kernel, { env: { memory } });
    decoders.set(id, decoder = { decode: exports.decode, words: new Int32Array(memory.buffer) });
  }
  const { decode, words } = decoder;
  for (let turn = 0;; turn++) {
    const at = slots[turn % slots.length];
    Atomics.wait(words, at, slotState.empty);
    if (Atomics.compareExchange(words, at, slotState.full, slotState.busy) !== slotState.full) return;
    // What is busy is waited for and never closed.
    decode(words[at + 1], words[at + 2], words[at + 3], words[at + 4]);
    Atomics.store(words, at, slotState.empty);
    Atomics.notify(words, at);
  }
});
