/** Values between segments on WebGPU, in f32 and with f16 operands, and the memory of batches of any length. */
import assert from "node:assert/strict";
import { makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Row } from "../../lib/model/trainable.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { checkExecutorMemory, checkPassWithoutTargets } from "../helpers/executor_memory.ts";
import { goldenFolder } from "../helpers/golden_models.ts";
import { gpuTest } from "../helpers/webgpu.ts";

for (const half of [false, true]) {
  const name = half ? "f16" : "f32";
  gpuTest(`createWebgpuExecutor() sums, overwrites and stores values in order, ${name}`, async (gpu) => {
    const executor = createWebgpuExecutor(gpu, { half });
    await checkExecutorMemory(executor);
    await executor.dispose();
  });

  gpuTest(`createWebgpuExecutor() clears gradients where a first pass has no target, ${name}`, async (gpu) => {
    const executor = createWebgpuExecutor(gpu, { half });
    await checkPassWithoutTargets(executor);
    await executor.dispose();
  });
}

interface Memory {
  /** Buffers made for a batch. */
  made: number;
  /** Bytes of all after it, and the most so far. */
  bytes: number;
  peak: number;
}

/** Trains on batches of single rows of these lengths, and evaluates them. */
async function memoryOf(gpu: Gpu, lengths: number[]): Promise<Memory[]> {
  let made = 0;
  const device = new Proxy(gpu.device, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (key === "createBuffer") made++;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const executor = createWebgpuExecutor({ ...gpu, device });
  const source = openModel(`${goldenFolder}llama_tied`), { config } = source;
  const weights = loadWeights(source, executor, { linear: "nf4" });
  source.close();
  const parameters = makeParameters(config, {
    ...{ r: 4, lora_alpha: 4, lora_dropout: 0.1, use_rslora: false, use_dora: false, seed: 1 },
    ...{ target_modules: [...projections], init_lora_weights: true as const },
  });
  const shared = { executor, config, weights, parameters, loraScale: 1, loraDropout: 0.1 };
  const model = makeTrainable({ ...shared, keepLayers: 1, headChunk: 64 });
  const found: Memory[] = [];
  for (const [dropoutSeed, length] of lengths.entries()) {
    made = 0;
    const tokens = new Int32Array(length).fill(7),
      rows: Row[] = [{ tokens, targets: new Uint8Array(length).fill(1, 1) }];
    const first = await model.accumulate(rows, { scale: 1, first: true, dropoutSeed });
    const second = await model.accumulate(rows, { scale: 1, first: false, dropoutSeed });
    await first.read();
    await second.read();
    await model.evaluate(rows);
    found.push({ made, bytes: executor.buffers.bytes(), peak: executor.buffers.peak() });
  }
  await executor.dispose();
  return found;
}

gpuTest(
  "after the longest batch shorter ones allocate nothing, and a longer one frees what is too small",
  async (gpu) => {
    const [{ made, bytes, peak }, ...shorter] = await memoryOf(gpu, [257, 257, 100, 9, 250, 31, 129, 200, 65]);
    assert.ok(made > 50, `${made}`);
    for (const [i, batch] of shorter.entries()) assert.deepEqual(batch, { made: 0, bytes, peak }, `batch ${i + 1}`);
    const rising = await memoryOf(gpu, [9, 31, 100, 129, 200, 257]);
    assert.ok(rising.at(-1)!.peak <= 1.1 * peak, `${rising.at(-1)!.peak} and ${peak}`);
  },
);
