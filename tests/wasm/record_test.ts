/** Every operation of the WASM executor against the float64 reference, on one thread and on three. */
import assert from "node:assert/strict";
import type { Ops, Value } from "../../lib/ops.ts";
import { createWasmExecutor } from "../../lib/wasm/executor.ts";
import { assertClose } from "../helpers/close.ts";
import { type OperationCase, operationCases, runCase } from "../helpers/operation_cases.ts";
import { randomFloats } from "../helpers/random.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

// In f32: sums of up to 257 products of size 1, rounding grows like sqrt(257) * 2^-24 = 1e-6 of the largest element.
// Products with NF4: a weight is off by at most 3.8e-5 of its block's largest, an activation by 0.5 / 13963 = 3.6e-5 of
// its block's; as independent errors over a row's 64 to 192 products they are below 9e-5 of the largest result.
const rtol = (name: string) => name.includes("NF4") ? 9e-5 : 1e-5;

const backward = [
  ...["scatterRows", "sumRows", "rmsNormBackward", "linearBackward", "attentionBackward", "gatedBackward"],
  "crossEntropy",
];

/** The same case without what answers do not need. */
function forwardOnly(operation: OperationCase): OperationCase {
  return {
    ...operation,
    build<V extends Value>(ops: Ops<V>, inputs: Record<string, V>): Record<string, V> {
      const left: Ops<V> = {
        ...ops,
        ...Object.fromEntries(backward.map((name) => [name, () => name === "gatedBackward" ? {} : undefined])),
        rope: (x, cos, sin, options) => options.inverse ? undefined as never : ops.rope(x, cos, sin, options),
        matmul: (a, b, options = {}) =>
          options.transA || !options.transB ? undefined as never : ops.matmul(a, b, options),
      };
      const made = operation.build(left, inputs) ?? {};
      return Object.fromEntries(Object.entries(made).filter(([, value]) => value !== undefined));
    },
  };
}

/** What LoRA's products need beyond the shared cases: B with few columns, added to another product. */
const more: OperationCase[] = [[1, 3, 72], [9, 33, 16], [2, 6, 5]].map(([T, O, I]) => ({
  name: `matmul x * W^T with plus, ${T} x ${I} and ${O} rows`,
  inputs: {
    x: { data: randomFloats(T * I, 1), shape: [T, I] },
    w: { data: randomFloats(O * I, 2), shape: [O, I] },
    c: { data: randomFloats(T * O, 3), shape: [T, O] },
  },
  build: (o, i) => ({ y: o.matmul(i.x, i.w, { transB: true, scale: -2, plus: i.c }) }),
}));

const left = (name: string) => /^(scatterRows|sumRows|attentionBackward|crossEntropy|matmul with plus)/.test(name);

for (const operation of [...operationCases(), ...more].filter(({ name }) => !left(name)).map(forwardOnly)) {
  for (const threads of [1, 3]) {
    Deno.test(`the WASM executor computes ${operation.name}, ${threads} threads`, async () => {
      const wasm = await createWasmExecutor({ threads });
      const actual = await runCase(wasm, operation);
      const expected = await runCase(executorFloat64(), operation);
      await wasm.dispose();
      assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
      for (const name of Object.keys(expected)) {
        assert.deepEqual([...actual[name].shape], [...expected[name].shape], `${name}: shape`);
        assertClose(actual[name].data, expected[name].data, { rtol: rtol(operation.name), what: name });
      }
    });
  }
}
