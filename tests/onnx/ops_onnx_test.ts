/** Every operation of the ONNX executor against the float64 reference. */
import assert from "node:assert/strict";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { assertClose } from "../helpers/close.ts";
import { operationCases, runCase } from "../helpers/operation_cases.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

// Sums of up to 257 f32 products of size 1: rounding grows like sqrt(257) * 2^-24 = 1e-6 of the largest element;
// divisions and exponentials add a few more of 2^-24. 1e-5 of the largest element leaves room and catches any formula.
const rtol = 1e-5;

for (const operation of operationCases()) {
  Deno.test(`the ONNX executor computes ${operation.name}`, async () => {
    const onnx = createOnnxExecutor({ threads: 1 });
    const expected = await runCase(executorFloat64(), operation);
    const actual = await runCase(onnx, operation);
    await onnx.dispose();
    assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
    for (const name of Object.keys(expected)) {
      assert.deepEqual([...actual[name].shape], [...expected[name].shape], `${name}: shape`);
      assertClose(actual[name].data, expected[name].data, { rtol, what: name });
    }
  });
}
