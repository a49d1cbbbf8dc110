/** `ftl eval` on both GPU engines, on whatever Vulkan there is: the CPU's losses and choices, base and tuned. */
import assert from "node:assert/strict";
import type { EvalResults } from "../../lib/eval/results.ts";
import { assertClose } from "../helpers/close.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { gpuTest } from "../helpers/webgpu.ts";

gpuTest("ftl eval --engine measures what the CPU measures", async (_gpu, engine) => {
  await inWorkplace(async ({ ftl }) => {
    const trained = await ftl([...tinyTraining, "-l", "1e-2", "--questions", "0"]);
    assert.equal(trained.code, 0, trained.stderr);
    const found: Record<string, number[]> = {};
    for (const wanted of ["onnx", engine]) {
      const settings = ["--limit", "2", "--max-new-tokens", "3", "--json", "--engine", wanted, "--threads", "1"];
      const { code, stdout, stderr } = await ftl(["eval", "runs/model-1", ...settings]);
      assert.equal(code, 0, stderr);
      const { sets } = JSON.parse(stdout) as EvalResults;
      const rows = sets.flatMap(({ rows }) => rows);
      found[wanted] = rows.flatMap(({ base, tuned }) => [base!.loss!, tuned!.loss!]);
      assert.ok(rows.every(({ base, tuned }) => base!.text !== undefined && tuned!.tokens! > 0));
    }
    // Operands in f16 where the device has it: a hundredth of a loss.
    assertClose(found[engine], found.onnx, { rtol: 1e-2, atol: 0, what: "losses" });
  });
});
