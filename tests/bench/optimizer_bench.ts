/**
 * Time of what runs on the training thread after each backward: gradient norm and optimiser, at the size of SmolLM2 135M
 * with r 16 on all seven projections (420 tensors, 4,884,480 values).
 *
 *   deno bench -A tests/bench/optimizer_bench.ts
 */
import type { Parameter } from "../../lib/model/trainable.ts";
import { gradientNorm } from "../../lib/train/gradient_norm.ts";
import { defaultAdamw, makeOptimizer } from "../../lib/train/optimizer.ts";
import { randomFloats } from "../helpers/random.ts";

/** [outputs, inputs] of q, k, v, o, gate, up, down. */
const projections = [[576, 576], [192, 576], [192, 576], [576, 576], [1536, 576], [1536, 576], [576, 1536]];
const layers = 30, r = 16;

const parameters: Parameter[] = [];
for (let layer = 0; layer < layers; layer++) {
  for (const [outputs, inputs] of projections) {
    for (const shape of [[r, inputs], [outputs, r]] as [number, number][]) {
      const length = shape[0] * shape[1], seed = parameters.length;
      const value = randomFloats(length, seed), grad = randomFloats(length, seed + 1000);
      parameters.push({ name: `${seed}`, shape, value, grad });
    }
  }
}

const count = parameters.reduce((sum, { value }) => sum + value.length, 0);
const torch = makeOptimizer("adamw_torch", parameters, defaultAdamw);
const eightBit = makeOptimizer("adamw_8bit", parameters, defaultAdamw);

Deno.bench(`gradient norm, ${count} values`, () => {
  gradientNorm(parameters);
});
Deno.bench(`adamw_torch step, ${count} values`, () => torch.step(1e-4, 0.5));
Deno.bench(`adamw_8bit step, ${count} values`, () => eightBit.step(1e-4, 0.5));
