/**
 * The reference runs of tests/golden (PyTorch, PEFT and bitsandbytes on the real SmolLM2-135M-Instruct) repeated by the
 * ONNX executor: 30 optimiser steps each, from the same first values (init_lora_weights: hash) on the same token ids.
 */
import assert from "node:assert/strict";
import { fetchModel } from "../../lib/cli/pull.ts";
import { attachAdapter, loraScale, makeParameters } from "../../lib/model/adapter.ts";
import { generate } from "../../lib/model/generate.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Parameter, Row } from "../../lib/model/trainable.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import { train } from "../../lib/train/loop.ts";
import { hostLearner } from "../../lib/train/learner.ts";
import { defaultAdamw, makeOptimizer } from "../../lib/train/optimizer.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenPath } from "../helpers/golden.ts";

interface GoldenRun {
  options: Record<"r" | "alpha" | "steps" | "batch" | "accum" | "lr" | "warmup" | "decay" | "seed", number> & {
    optim: "adamw" | "adamw8bit";
  };
  tokens: number[][];
  first_target: number[];
  row_loss_before: number[];
  loss: number[];
  grad_norm: number[];
  lr: number[];
  row_loss_after: number[];
  /** L2 norms of the gradients of A and B, by PEFT's name of A in memory. */
  grad_first_step: Record<string, [number, number]>;
  grad_first_step_B_first16: Record<string, number[]>;
  greedy_after: { row: number; prompt_tokens: number; tokens: number[] };
}

const fileName = (memoryName: string, part: "lora_A" | "lora_B") => memoryName.replace("lora_A.default", part);

const l2 = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

for (const name of ["smollm2_16rows_adamw", "smollm2_16rows_adamw8bit"]) {
  Deno.test(`30 steps of ${name} are PyTorch's: losses, first gradients, greedy answer`, async () => {
    const golden: GoldenRun = JSON.parse(Deno.readTextFileSync(goldenPath(`${name}.json`)));
    const { options } = golden;
    const source = openModel(await fetchModel("smollm2-135m")), { config } = source;
    const executor = createOnnxExecutor();
    const weights = loadWeights(source, executor, { linear: "nf4" });
    source.close();
    const settings = {
      r: options.r,
      lora_alpha: options.alpha,
      lora_dropout: 0,
      use_rslora: false,
      use_dora: false,
      target_modules: [...projections],
      init_lora_weights: "hash" as const,
      seed: options.seed,
    };
    const parameters = makeParameters(config, settings);
    const model = makeTrainable({
      executor,
      config,
      weights,
      parameters,
      loraScale: loraScale(settings),
      keepLayers: 20,
      headChunk: 80,
    });
    const rows: Row[] = golden.tokens.map((tokens, i) => ({
      tokens: Int32Array.from(tokens),
      targets: Uint8Array.from(tokens, (_, t) => t >= Math.max(1, golden.first_target[i]) ? 1 : 0),
    }));
    const rowLosses = async () => (await model.evaluate(rows)).map(({ loss, targets }) => loss / targets);
    // f32 sums of a 30-layer model in another order: 1e-4 of a loss of 3 to 5.
    assertClose(await rowLosses(), golden.row_loss_before, { rtol: 1e-4, what: "row losses before" });

    const losses: number[] = [], rates: number[] = [], norms: number[] = [];
    const optim = options.optim === "adamw" ? "adamw_torch" : "adamw_8bit";
    const adamw = { ...defaultAdamw, weightDecay: options.decay };
    await train({
      learner: hostLearner(model, makeOptimizer(optim, parameters, adamw)),
      rows: rows.length,
      rowAt: (position) => rows[position % rows.length],
      rowsPerPass: 8,
      settings: {
        maxSteps: options.steps,
        numTrainEpochs: 0,
        perDeviceTrainBatchSize: options.batch,
        gradientAccumulationSteps: options.accum,
        learningRate: options.lr,
        lrSchedulerType: "linear",
        warmupSteps: options.warmup,
        optim,
        adamw,
        maxGradNorm: 0,
        seed: 0,
        evalSteps: 0,
        earlyStoppingPatience: 0,
        saveSteps: 0,
        saveTotalLimit: 1,
      },
      onEvent(event) {
        if (event.type !== "step") return;
        if (event.step === 1) checkFirstGradients(parameters, golden);
        losses.push(event.loss);
        norms.push(event.gradNorm);
        rates.push(event.learningRate);
      },
    });
    assertClose(rates, golden.lr, { rtol: 1e-12, what: "learning rates" });
    // Rounding differences grow from step to step; the losses of all 30 must stay within half a percent, the
    // gradient's norm (which falls by ten and is more sensitive) within five.
    assertClose(losses, golden.loss, { rtol: 5e-3, atol: 0, what: "losses" });
    assertClose(norms, golden.grad_norm, { rtol: 5e-2, atol: 0, what: "gradient norms" });
    assertClose(await rowLosses(), golden.row_loss_after, { rtol: 2e-2, atol: 0, what: "row losses after" });

    const { greedy_after } = golden;
    const prompt = golden.tokens[greedy_after.row].slice(0, greedy_after.prompt_tokens);
    const adapter = await attachAdapter(parameters, { executor, weights, config, settings });
    const answer: number[] = [];
    for await (const { token } of generate({ executor, config, weights, adapter }, [prompt], { maxNewTokens: 48 })) {
      answer.push(token);
    }
    assert.deepEqual(answer, greedy_after.tokens);
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
