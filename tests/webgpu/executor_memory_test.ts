/** Values between segments on WebGPU, in f32 and with f16 operands. */
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { checkExecutorMemory, checkPassWithoutTargets } from "../helpers/executor_memory.ts";
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
