// Whole tiny models on WebGPU against PyTorch and PEFT: logits, losses, gradients, in f32 and with f16 operands.
import { createWebgpuExecutor, type WebgpuExecutor, type WebgpuOptions } from "../../lib/webgpu/executor.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import { checkBnb4Logits } from "../helpers/bnb4_models.ts";
import { checkGoldenLogits, checkGoldenTraining, goldenModels } from "../helpers/golden_models.ts";
import { gpuTest } from "../helpers/webgpu.ts";
import { checkYarnLogits } from "../helpers/yarn_model.ts";

async function withExecutor(gpu: Gpu, options: WebgpuOptions, use: (executor: WebgpuExecutor) => Promise<unknown>) {
  const executor = createWebgpuExecutor(gpu, options);
  try {
    await use(executor);
  } finally {
    await executor.dispose();
  }
}

for (const name of goldenModels) {
  gpuTest(`PyTorch's logits for ${name}, f32`, async (gpu) => {
    await withExecutor(gpu, { half: false }, (executor) => checkGoldenLogits(name, { executor, rtol: 2e-4 }));
  });
  gpuTest(`PEFT's loss and LoRA gradients for ${name}, f32`, async (gpu) => {
    const limits = { rtol: 1e-3, lossRtol: 1e-5 };
    await withExecutor(gpu, { half: false }, (executor) => checkGoldenTraining(name, { executor, ...limits }));
    await withExecutor(
      gpu,
      { half: false },
      (executor) => checkGoldenTraining(name, { executor, ...limits, split: true, keepLayers: 1 }),
    );
  });
  // Operands of every product round to 2^-11; random weights let errors grow from layer to layer.
  gpuTest(`PEFT's loss and LoRA gradients for ${name}, f16`, async (gpu) => {
    const limits = { rtol: 2e-2, lossRtol: 2e-3, lossScale: 1024 };
    await withExecutor(gpu, { half: true }, (executor) => checkGoldenLogits(name, { executor, rtol: 1e-2 }));
    await withExecutor(gpu, { half: true }, (executor) => checkGoldenTraining(name, { executor, ...limits }));
  });
}

gpuTest("PyTorch's logits for bitsandbytes 4-bit checkpoints, f32 and f16", async (gpu) => {
  await withExecutor(gpu, { half: false }, (executor) => checkBnb4Logits({ executor, rtol: 2e-4 }));
  await withExecutor(gpu, { half: true }, (executor) => checkBnb4Logits({ executor, rtol: 1e-2 }));
});

gpuTest("a model with YaRN as the float64 reference, f32", async (gpu) => {
  await withExecutor(gpu, { half: false }, (executor) => checkYarnLogits({ executor, rtol: 2e-4 }));
});
