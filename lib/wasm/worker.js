/**
 * A thread beside the main one, as text for a data URL (threads.ts): it works through lists of kernel calls until it is
 * told to end, and hears nothing of events meanwhile.
 */
self.onmessage = ({ data: { module, memory, thread, threads, job } }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  self.postMessage("ready");
  exports.work(thread, threads, job);
  self.close();
};
