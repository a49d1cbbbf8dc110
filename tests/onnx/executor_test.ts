/** Values between segments, on the CPU's executors. */
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { checkExecutorMemory, checkPassWithoutTargets } from "../helpers/executor_memory.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

const executors = { createOnnxExecutor: () => createOnnxExecutor({ threads: 1 }), executorFloat64 };

for (const [name, create] of Object.entries(executors)) {
  Deno.test(`${name}() sums, overwrites and stores values in order`, async () => {
    const executor = create();
    await checkExecutorMemory(executor);
    await executor.dispose();
  });

  Deno.test(`${name}() clears gradients where a first pass has no target`, async () => {
    const executor = create();
    await checkPassWithoutTargets(executor);
    await executor.dispose();
  });
}
