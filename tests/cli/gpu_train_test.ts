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

gpuTest("Ctrl-C on the GPU saves and stops; --resume goes on bit for bit", async (_gpu, engine) => {
  await inWorkplace(async ({ ftl, start, folder, list }) => {
    // Single rows, since steps are slow on software.
    const training = [...tinyTraining, "-b", "1", "-g", "1", "-s", "8", "--lora-dropout", "0.1", "--questions", "0"];
    const whole = await ftl([...training, "--engine", engine, "-o", "whole"]);
    assert.equal(whole.code, 0, whole.stderr);

    const child = start([...training, "--engine", engine, "-o", "halves"]);
    const steps = () => list("halves").includes("log.jsonl") ? losses(`${folder}/halves`).length : 0;
    while (steps() < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGINT");
    const { code, stderr } = await child.output(), said = new TextDecoder().decode(stderr);
    assert.equal(code, 130, said);
    assert.match(said, /stopped at step \d+; go on with: .*ftl train --resume halves/);
    assert.ok(steps() < 8, "it was stopped in the middle");
    assert.equal(list("halves/checkpoints").length, 1);

    const rest = await ftl(["train", "--resume", "halves"]);
    assert.equal(rest.code, 0, rest.stderr);
    const bits = (run: string) =>
      readLog(`${folder}/${run}/log.jsonl`).map(({ step, loss, grad_norm }) => [step, loss, grad_norm]);
    assert.deepEqual(bits("halves"), bits("whole"));
    const adapter = (run: string) => Deno.readFileSync(`${folder}/${run}/adapter/adapter_model.safetensors`);
    assert.deepEqual(adapter("halves"), adapter("whole"));
  });
});

gpuTest(
  "ftl train refuses a GPU's memory that is too small in one line, before anything is loaded",
  async (_gpu, engine) => {
    await inWorkplace(async ({ ftl, list }) => {
      const { code, stderr } = await ftl([...tinyTraining, "--engine", engine, "--max-memory", "0.25", "-o", "run"]);
      assert.equal(code, 1);
      assert.match(
        stderr,
        /^ftl: Cannot train .+ of GPU memory: one row of \d+ tokens at a time needs .+\n {2}try: .+\n$/m,
      );
      assert.deepEqual(list("run/checkpoints"), []);
    });
  },
);
