/**
 * torch.optim.AdamW (its single-tensor form): f32 moments, decay before the update.
 *
 *   p = p*(1 - lr*wd);  m = m + (1-b1)*(g - m);  v = b2*v + (1-b2)*g*g
 *   p = p - lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps)
 *
 * Source: torch/optim/adamw.py, _single_tensor_adamw. Every operation in f32; the arithmetic is in adamw.wat.
 */
import type { Parameter } from "../model/trainable.ts";
import { adamwKernel, chunk, stepConstants } from "./adamw_kernel.ts";
import type { AdamwSettings, Optimizer, OptimizerState } from "./optimizer.ts";
import { copyTensors } from "./optimizer_state.ts";

interface Moments {
  parameter: Parameter;
  m: Float32Array<ArrayBuffer>;
  v: Float32Array<ArrayBuffer>;
}

export function adamw(parameters: Parameter[], settings: AdamwSettings): Optimizer {
  const moments = parameters.map((parameter): Moments => ({
    parameter,
    m: new Float32Array(parameter.value.length),
    v: new Float32Array(parameter.value.length),
  }));
  let taken = 0;
  const state = (): OptimizerState => ({
    step: taken,
    tensors: new Map(moments.flatMap(({ parameter: { name }, m, v }) => [
      [`${name}.exp_avg`, m],
      [`${name}.exp_avg_sq`, v],
    ])),
  });
  return {
    step(lr, gradScale) {
      taken++;
      const kernel = adamwKernel();
      const { beta1, beta2, eps } = settings;
      const { correction1, root, decay } = stepConstants(taken, { lr, ...settings });
      for (const { parameter: { value, grad }, m, v } of moments) {
        for (let start = 0; start < value.length; start += chunk) {
          const end = Math.min(start + chunk, value.length), count = end - start;
          kernel.p.set(value.subarray(start, end));
          kernel.g.set(grad.subarray(start, end));
          kernel.m.set(m.subarray(start, end));
          kernel.v.set(v.subarray(start, end));
          kernel.adamw32bit(count, gradScale, beta2, 1 - beta1, 1 - beta2, root, eps, -lr / correction1, decay);
          value.set(kernel.p.subarray(0, count), start);
          m.set(kernel.m.subarray(0, count), start);
          v.set(kernel.v.subarray(0, count), start);
        }
      }
    },
    state,
    load(saved) {
      copyTensors(state().tensors, saved.tensors);
      taken = saved.step;
    },
  };
}
