/** The commands end to end on a tiny model with random weights: what they leave behind, and how they go on. */
import assert from "node:assert/strict";
import { readLog } from "../../lib/train/log.ts";
import { assertClose } from "../helpers/close.ts";
import { inWorkplace, tinyTraining } from "../helpers/ftl.ts";

Deno.test("ftl train leaves a whole run folder, shows losses, answers and files, and can be run again", async () => {
  await inWorkplace(async ({ ftl, list, folder }) => {
    const first = await ftl([...tinyTraining, "-l", "1e-2"]);
    assert.equal(first.code, 0, first.stderr);
    assert.deepEqual(list("runs/model-1"), ["adapter", "checkpoints", "config.yaml", "log.jsonl", "loss.svg"]);
    assert.deepEqual(list("runs/model-1/adapter"), ["adapter_config.json", "adapter_model.safetensors"]);
    assert.match(first.stdout, /What is number 0\?\n\s+base\s+tuned\n/);
    const [, before, after] = /loss on 6 trained rows\s+([\d.]+) -> ([\d.]+)/.exec(first.stdout)!;
    assert.ok(Number(after) < Number(before) - 0.05, `${before} -> ${after}`);
    assert.match(first.stdout, /runs\/model-1\/adapter\/\s+[\d.]+ kB/);
    assert.match(first.stdout, /ftl run runs\/model-1/);
    assert.match(first.stderr, /learning rate 1e-2\n/);

    const log = readLog(`${folder}/runs/model-1/log.jsonl`);
    assert.deepEqual(log.map(({ step }) => step), [1, 2, 3, 4]);
    assertClose(log.map(({ learning_rate }) => learning_rate), [0, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3], { rtol: 1e-12 });

    const again = await ftl(["train", "runs/model-1/config.yaml"]);
    assert.equal(again.code, 0, again.stderr);
    const losses = (run: string) =>
      readLog(`${folder}/runs/${run}/log.jsonl`).map(({ loss, grad_norm }) => [loss, grad_norm]);
    assert.deepEqual(losses("model-2"), losses("model-1"), "the same settings give the same bits");
  });
});

Deno.test("ftl train stops at Ctrl-C with a checkpoint, and --resume goes on bit for bit", async () => {
  await inWorkplace(async ({ ftl, start, folder, list }) => {
    const long = [
      "train",
      "-m",
      "model",
      "-d",
      "rows.jsonl",
      "-s",
      "30",
      "--threads",
      "1",
      "--lora-dropout",
      "0.1",
      "--questions",
      "0",
    ];
    const whole = await ftl([...long, "-o", "whole"]);
    assert.equal(whole.code, 0, whole.stderr);

    const child = start([...long, "-o", "halves", "--save-steps", "0"]);
    const steps = () => {
      try {
        return readLog(`${folder}/halves/log.jsonl`).length;
      } catch {
        return 0;
      }
    };
    while (steps() < 3) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    const said = new TextDecoder().decode(stderr);
    assert.equal(code, 130, said);
    assert.match(said, /stopped at step \d+; go on with: .*ftl train --resume halves/);
    assert.ok(steps() < 30, "it was stopped in the middle");
    assert.equal(list("halves/checkpoints").length, 1);
    assert.deepEqual(list("halves/adapter"), []);

    const early = await ftl(["run", "halves", "hello"]);
    assert.deepEqual([early.code, early.stderr.split("\n")[0]], [1, "ftl: halves has no trained adapter yet"]);

    const rest = await ftl(["train", "--resume", "halves"]);
    assert.equal(rest.code, 0, rest.stderr);
    assert.match(rest.stderr, /resumed at step \d+/);
    const bits = (run: string) =>
      readLog(`${folder}/${run}/log.jsonl`).map((
        { step, loss, grad_norm, learning_rate },
      ) => [step, loss, grad_norm, learning_rate]);
    assert.deepEqual(bits("halves"), bits("whole"));
    const adapter = (run: string) => Deno.readFileSync(`${folder}/${run}/adapter/adapter_model.safetensors`);
    assert.deepEqual(adapter("halves"), adapter("whole"));
  });
});

Deno.test("ftl run and ftl export take a run folder, and training can export by itself", async () => {
  await inWorkplace(async ({ ftl, list }) => {
    const trained = await ftl([...tinyTraining, "-o", "run", "--export", "q8_0,lora"]);
    assert.equal(trained.code, 0, trained.stderr);
    assert.deepEqual(list("run/export"), ["Modelfile", "model.Q8_0.gguf", "model.lora.gguf"]);

    const asked = await ftl(["run", "run", "What is number 0?", "--max-new-tokens", "5"]);
    assert.equal(asked.code, 0, asked.stderr);
    const base = await ftl(["run", "model", "What is number 0?", "--max-new-tokens", "5", "--prompt-style", "alpaca"]);
    assert.equal(base.code, 0, base.stderr);

    const exported = await ftl(["export", "run", "--to", "f16,safetensors"]);
    assert.equal(exported.code, 0, exported.stderr);
    assert.match(exported.stdout, /run\/export\/model\.F16\.gguf {2}[\d.]+ kB/);
    assert.match(exported.stdout, /next: ollama create my-model -f run\/export\/Modelfile/);
    assert.ok(list("run/export/merged").includes("tokenizer.json"));
    const merged = await ftl(["run", "run/export/model.F16.gguf", "hello", "--max-new-tokens", "3"]);
    assert.equal(merged.code, 0, merged.stderr);

    const cut = await ftl(["export", "run", "--to", "q4_k_m", "--split-max-size", "0.1M", "-o", "cut"]);
    assert.equal(cut.code, 0, cut.stderr);
    const [first, ...others] = list("cut");
    assert.match(first, /^model\.Q4_K_M-00001-of-0000\d\.gguf$/);
    assert.ok(others.length > 0 && !others.includes("Modelfile"), `${others}`);
    assert.match(cut.stdout, /next: llama-server -m cut\/model\.Q4_K_M-00001-of-.*; Ollama reads none such/);
    const joined = await ftl(["run", `cut/${first}`, "hello", "--max-new-tokens", "3"]);
    assert.equal(joined.code, 0, joined.stderr);
    const size = await ftl(["export", "run", "--split-max-size", "2X"]);
    assert.equal(size.code, 2);
    assert.match(size.stderr, /--split-max-size: expected a size such as 500M or 2G, got "2X"/);
  });
});

Deno.test("ftl train evaluates on held-out rows and stops early", async () => {
  await inWorkplace(async ({ ftl, folder }) => {
    const { code, stdout, stderr } = await ftl([
      ...["train", "-m", "model", "-d", "rows.jsonl", "--eval-split", "0.34", "--eval-steps", "1", "-l", "5"],
      ...[
        "--early-stopping-patience",
        "2",
        "--max-grad-norm",
        "0",
        "-s",
        "40",
        "-w",
        "0",
        "-o",
        "run",
        "--questions",
        "0",
      ],
    ]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /2 rows held out/);
    assert.match(stderr, /stopped early at step \d/);
    assert.match(stdout, /loss on held-out rows\s+[\d.]+ -> [\d.]+/);
    assert.ok(readLog(`${folder}/run/log.jsonl`).length < 40);
  });
});
