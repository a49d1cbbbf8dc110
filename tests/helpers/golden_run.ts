/**
 * The reference runs of tests/golden (PyTorch, PEFT and bitsandbytes on the real SmolLM2-135M-Instruct) repeated on an
 * executor: 30 optimiser steps from the same first values (init_lora_weights: hash) on the same token ids.
 */
import { fetchModel } from "../../lib/cli/pull.ts";
import { attachAdapter, loraScale, makeParameters } from "../../lib/model/adapter.ts";
import { generate } from "../../lib/model/generate.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Parameter, Row } from "../../lib/model/trainable.ts";
import { makeTrainable, type ParameterPlace } from "../../lib/model/trainable_model.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import type { Executor } from "../../lib/ops.ts";
import type { Learner } from "../../lib/train/learner.ts";
import { train } from "../../lib/train/loop.ts";
import { type AdamwSettings, defaultAdamw, type OptimizerName } from "../../lib/train/optimizer.ts";
import type { Trainable } from "../../lib/model/trainable.ts";
import { goldenPath } from "./golden.ts";

export interface GoldenRun {
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

export const goldenRuns = ["smollm2_16rows_adamw", "smollm2_16rows_adamw8bit"];

/** What a learner is made of. */
export interface LearnerParts {
  parameters: Parameter[];
  kind: OptimizerName;
  settings: AdamwSettings;
  makeModel(placeOf?: (i: number) => ParameterPlace): Trainable;
}

export interface RepeatedRun {
  golden: GoldenRun;
  rowLossBefore: number[];
  losses: number[];
  norms: number[];
  rates: number[];
  rowLossAfter: number[];
  /** Greedy answer after training, as long as the reference's. */
  answer: number[];
  seconds: number;
}

export async function repeatGoldenRun(name: string, options: {
  executor: Executor;
  learnerOf: (parts: LearnerParts) => Learner;
  /** After the first step, gradients of it in the parameters where the learner works on the host. */
  afterFirstStep?: (parameters: Parameter[], golden: GoldenRun) => void;
}): Promise<RepeatedRun> {
  const { executor } = options;
  const golden: GoldenRun = JSON.parse(Deno.readTextFileSync(goldenPath(`${name}.json`))), { options: wanted } = golden;
  const source = openModel(await fetchModel("smollm2-135m")), { config } = source;
  const weights = loadWeights(source, executor, { linear: "nf4" });
  source.close();
  const settings = {
    ...{ r: wanted.r, lora_alpha: wanted.alpha, lora_dropout: 0, use_rslora: false, use_dora: false },
    target_modules: [...projections],
    init_lora_weights: "hash" as const,
    seed: wanted.seed,
  };
  const parameters = makeParameters(config, settings);
  const optim = wanted.optim === "adamw" ? "adamw_torch" : "adamw_8bit";
  const adamw = { ...defaultAdamw, weightDecay: wanted.decay };
  const learner = options.learnerOf({
    ...{ parameters, kind: optim, settings: adamw },
    makeModel: (placeOf) =>
      makeTrainable({
        ...{ executor, config, weights, parameters, placeOf, loraScale: loraScale(settings) },
        ...{ keepLayers: 20, headChunk: 80 },
      }),
  });
  const rows: Row[] = golden.tokens.map((tokens, i) => ({
    tokens: Int32Array.from(tokens),
    targets: Uint8Array.from(tokens, (_, t) => t >= Math.max(1, golden.first_target[i]) ? 1 : 0),
  }));
  const rowLosses = async () => (await learner.evaluate(rows)).map(({ loss, targets }) => loss / targets);
  const rowLossBefore = await rowLosses();
  const losses: number[] = [], rates: number[] = [], norms: number[] = [], begun = performance.now();
  await train({
    learner,
    rows: rows.length,
    rowAt: (position) => rows[position % rows.length],
    rowsPerPass: 8,
    settings: {
      maxSteps: wanted.steps,
      numTrainEpochs: 0,
      perDeviceTrainBatchSize: wanted.batch,
      gradientAccumulationSteps: wanted.accum,
      learningRate: wanted.lr,
      lrSchedulerType: "linear",
      warmupSteps: wanted.warmup,
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
      if (event.step === 1) options.afterFirstStep?.(parameters, golden);
      losses.push(event.loss);
      norms.push(event.gradNorm);
      rates.push(event.learningRate);
    },
  });
  const seconds = (performance.now() - begun) / 1000, rowLossAfter = await rowLosses();
  await learner.pull();
  const { greedy_after } = golden;
  const prompt = golden.tokens[greedy_after.row].slice(0, greedy_after.prompt_tokens);
  const adapter = await attachAdapter(parameters, { executor, weights, config, settings });
  const answer: number[] = [], maxNewTokens = greedy_after.tokens.length;
  for await (const { token } of generate({ executor, config, weights, adapter }, [prompt], { maxNewTokens })) {
    answer.push(token);
  }
  return { golden, rowLossBefore, losses, norms, rates, rowLossAfter, answer, seconds };
}
