/** Adapters as the start of training, and on another base than theirs. */
import assert from "node:assert/strict";
import { isSameModel } from "../../lib/cli/other_base.ts";
import { readLog } from "../../lib/train/log.ts";
import { assertClose } from "../helpers/close.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";
import { goldenPath } from "../helpers/golden.ts";

const training = [...tinyTraining, "--questions", "0", "-l", "1e-2"];

Deno.test("ftl train --init-adapter goes on from an adapter's A and B, with its settings", async () => {
  await inWorkplace(async ({ ftl, folder }) => {
    const first = await ftl([...training, "-r", "3", "-a", "9", "--target-modules", "v_proj,up_proj", "-o", "first"]);
    assert.equal(first.code, 0, first.stderr);
    const after = Number(/loss on 6 trained rows\s+[\d.]+ -> ([\d.]+)/.exec(first.stdout)![1]);

    const second = await ftl([...training, "--init-adapter", "first", "-o", "second"]);
    assert.equal(second.code, 0, second.stderr);
    assert.match(second.stderr, /adapter {3}r 3, alpha 9, 2 modules: .* trained, going on from first\n/);
    assert.ok(!second.stderr.includes("note:"), second.stderr);
    // The learning rate of the first step is 0, so that two steps show the loss of the first adapter.
    const losses = readLog(`${folder}/second/log.jsonl`).map(({ loss }) => loss);
    assertClose(losses.slice(0, 2), [after, after], { rtol: 1e-4 });
    assert.ok(losses[3] < after - 0.05, `${after} -> ${losses}`);

    // It can be gone on with when the first adapter is no longer there.
    Deno.renameSync(`${folder}/first`, `${folder}/gone`);
    const resumed = await ftl(["train", "--resume", "second"]);
    assert.equal(resumed.code, 0, resumed.stderr);

    const other = await ftl([...training, "--init-adapter", "gone", "-r", "8"]);
    assert.deepEqual([other.code, other.stderr], [
      2,
      "ftl: init_adapter: gone has r 3, not 8\n  try: leave these settings out: they are the adapter's\n",
    ]);
  });
});

Deno.test("an adapter of another base gets one line of warning", async () => {
  await inWorkplace(async ({ ftl }) => {
    const adapter = goldenPath("peft/layers");
    const { code, stderr } = await ftl(["run", "model", "--adapter", adapter, "hi", "--max-new-tokens", "1"]);
    assert.equal(code, 0, stderr);
    const line = `note: the adapter ${adapter} was made on tests/golden/tiny/llama3, not on model: `;
    assert.deepEqual(stderr.split("\n").filter((each) => each.startsWith("note:")), [
      `${line}on other weights it is noise`,
    ]);
  });
});

Deno.test("isSameModel() knows copies of the same weights by their names", () => {
  const same: [string, string][] = [
    ["unsloth/Meta-Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B"],
    ["unsloth/Llama-3.1-8B-unsloth-bnb-4bit", "models/Llama-3.1-8B/"],
    ["Qwen/Qwen3-0.6B", "qwen3-0.6b.Q8_0.gguf"],
    ["HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"],
    ["/x/models--Qwen--Qwen3-0.6B/snapshots/0123abcd", "Qwen3-0.6B"],
    ["google/gemma-3-270m-it", "Gemma 3 270m It"],
  ];
  for (const [base, model] of same) assert.ok(isSameModel(base, ["elsewhere", model]), `${base} = ${model}`);
  const others: [string, string][] = [
    ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B-Base"],
    ["meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"],
    ["meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.2-3B"],
  ];
  for (const [base, model] of others) assert.ok(!isSameModel(base, [model]), `${base} != ${model}`);
});
