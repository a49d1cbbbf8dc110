/** Every operation of the WebGPU executor against the float64 reference, in f32 and with f16 operands. */
import assert from "node:assert/strict";
import { createWebgpuExecutor } from "../../lib/webgpu/executor.ts";
import { assertClose } from "../helpers/close.ts";
import { operationCases, runCase } from "../helpers/operation_cases.ts";
import { gpuTest } from "../helpers/webgpu.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

// f32: as for the CPU's executor, sums of up to 257 products of size 1, with room for WGSL's division and exponential
// (some ulp). f16: operands, and results that only products read, are rounded to 2^-11 each; a sum of n of them is off by
// up to sqrt(n) * 2^-11 of an element, a handful of rounded stages after one another by a few times that.
const limits = [{ half: false, rtol: 2e-5 }, { half: true, rtol: 6e-3 }];

for (const { half, rtol } of limits) {
  for (const operation of operationCases()) {
    gpuTest(`${half ? "f16" : "f32"} ${operation.name}`, async (gpu) => {
      const executor = createWebgpuExecutor(gpu, { half });
      const expected = await runCase(executorFloat64(), operation);
      const actual = await runCase(executor, operation);
      await executor.dispose();
      assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
      const largest = Math.max(
        ...Object.values(expected).map(({ data }) => data.reduce((a, x) => Math.max(a, Math.abs(x)), 0)),
      );
      for (const name of Object.keys(expected)) {
        // What is exactly 0 (the gradient of a softmax over one key) is a difference of numbers of the others' size.
        const zero = expected[name].data.every((x) => x === 0);
        assert.deepEqual([...actual[name].shape], [...expected[name].shape], `${name}: shape`);
        assertClose(actual[name].data, expected[name].data, {
          rtol,
          what: name,
          ...zero ? { atol: rtol * largest } : {},
        });
      }
    });
  }
}
