/** `ftl train` and `ftl run` on both GPU engines, on whatever Vulkan there is: a run folder as on the CPU, and the same bits. */
import assert from "node:assert/strict";
import { readLog } from "../../lib/train/log.ts";
import { assertClose } from "../helpers/close.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { gpuTest } from "../helpers/webgpu.ts";

const losses = (path: string) => readLog(`${path}/log.jsonl`).map(({ loss }) => loss);

gpuTest(
  "ftl train --engine leaves the run folder of the CPU, with its losses, twice the same",
  async (_gpu, engine) => {
    await inWorkplace(async ({ ftl, list, folder }) => {
      const training = [...tinyTraining, "-l", "1e-2"];
      const runs: Record<string, number[]> = {};
      for (const [name, wanted] of [["cpu", "onnx"], ["gpu", engine], ["again", engine]]) {
        const { code, stderr } = await ftl([...training, "--engine", wanted, "-o", name]);
        assert.equal(code, 0, stderr);
        assert.match(stderr, wanted === "onnx" ? /^step 4\/4 .*\d MB memory$/m : /^step 4\/4 .*\d MB GPU memory$/m);
        runs[name] = losses(`${folder}/${name}`);
      }
      assert.deepEqual(list("gpu"), list("cpu"));
      assert.deepEqual(list("gpu/adapter"), list("cpu/adapter"));
      assert.deepEqual(runs.again, runs.gpu, "the same seed gives the same bits");
      const bytes = (run: string) => Deno.readFileSync(`${folder}/${run}/adapter/adapter_model.safetensors`);
      assert.deepEqual(bytes("again"), bytes("gpu"));
      // Operands in f16 where the device has it: a hundredth of a loss.
      assertClose(runs.gpu, runs.cpu, { rtol: 1e-2, atol: 0, what: "losses" });
      const answer = await ftl(["run", "gpu", "What is number 0?", "--engine", engine, "--max-new-tokens", "5"]);
      assert.equal(answer.code, 0, answer.stderr);
    });
  },
);

gpuTest("a run begun on the CPU goes on on the GPU, and the other way round", async (_gpu, engine) => {
  await inWorkplace(async ({ ftl, folder }) => {
    const training = [...tinyTraining, "-l", "1e-2", "-s", "6", "--save-steps", "3", "--questions", "0"];
    for (const [first, second] of [["onnx", engine], [engine, "onnx"]]) {
      const run = `${first}-${second}`, whole = await ftl([...training, "--engine", first, "-o", run]);
      assert.equal(whole.code, 0, whole.stderr);
      const before = losses(`${folder}/${run}`);
      // As if it had stopped after the third step.
      Deno.removeSync(`${folder}/${run}/checkpoints/step-000006.safetensors`);
      const { code, stderr } = await ftl(["train", "--resume", run, "--engine", second]);
      assert.equal(code, 0, stderr);
      const after = losses(`${folder}/${run}`);
      assert.deepEqual(after.slice(0, 3), before.slice(0, 3));
      assertClose(after, before, { rtol: 1e-2, atol: 0, what: `losses, ${first} then ${second}` });
    }
  });
});
