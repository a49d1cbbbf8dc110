/** The reference runs of PyTorch repeated by the ONNX executor: losses, first gradients, greedy answer. */
import assert from "node:assert/strict";
import type { Parameter } from "../../lib/model/trainable.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { hostLearner } from "../../lib/train/learner.ts";
import { makeOptimizer } from "../../lib/train/optimizer.ts";
import { assertClose } from "../helpers/close.ts";
import { type GoldenRun, goldenRuns, repeatGoldenRun } from "../helpers/golden_run.ts";

const fileName = (memoryName: string, part: "lora_A" | "lora_B") => memoryName.replace("lora_A.default", part);

const l2 = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

for (const name of goldenRuns) {
  Deno.test(`30 steps of ${name} are PyTorch's: losses, first gradients, greedy answer`, async () => {
    const executor = createOnnxExecutor();
    const { golden, ...found } = await repeatGoldenRun(name, {
      executor,
      learnerOf: ({ parameters, kind, settings, makeModel }) =>
        hostLearner(makeModel(), makeOptimizer(kind, parameters, settings)),
      afterFirstStep: checkFirstGradients,
    });
    // f32 sums of a 30-layer model in another order: 1e-4 of a loss of 3 to 5.
    assertClose(found.rowLossBefore, golden.row_loss_before, { rtol: 1e-4, what: "row losses before" });
    assertClose(found.rates, golden.lr, { rtol: 1e-12, what: "learning rates" });
    // Rounding differences grow from step to step; the losses of all 30 must stay within half a percent, the
    // gradient's norm (which falls by ten and is more sensitive) within five.
    assertClose(found.losses, golden.loss, { rtol: 5e-3, atol: 0, what: "losses" });
    assertClose(found.norms, golden.grad_norm, { rtol: 5e-2, atol: 0, what: "gradient norms" });
    assertClose(found.rowLossAfter, golden.row_loss_after, { rtol: 2e-2, atol: 0, what: "row losses after" });
    assert.deepEqual(found.answer, golden.greedy_after.tokens);
    await executor.dispose();
  });
}

/** Gradients of the first step: norms of every matrix listed, and the first elements of some. */
function checkFirstGradients(parameters: Parameter[], golden: GoldenRun): void {
  const grads = new Map(parameters.map(({ name, grad }) => [name, grad]));
  const matrices = Object.entries(golden.grad_first_step);
  // B is 0 at first, so A's gradient is exactly 0.
  assert.deepEqual(matrices.map(([name]) => l2(grads.get(fileName(name, "lora_A"))!)), matrices.map(([, [a]]) => a));
  assertClose(
    matrices.map(([name]) => l2(grads.get(fileName(name, "lora_B"))!)),
    matrices.map(([, [, b]]) => b),
    { rtol: 1e-3, atol: 0, what: "norms of B's gradients" },
  );
  for (const [name, first] of Object.entries(golden.grad_first_step_B_first16)) {
    assertClose(grads.get(fileName(name, "lora_B"))!.subarray(0, first.length), first, { rtol: 1e-3, what: name });
  }
}
