/**
 * A learner whose values, gradients and optimiser live on the GPU: a window's passes, norm, clipping and update are
 * encoded one after the other, and one wait reads the losses and what became of the step.
 *
 * With f16 operands the loss is scaled, so that small gradients do not vanish. A gradient that is not finite changes
 * nothing; the scale is halved and the same window runs again, until it is 1: then the numbers themselves are at fault.
 * The scale belongs to the optimiser's state, so that a resumed run goes on with it, bit for bit.
 */
import type { Parameter } from "../model/trainable.ts";
import type { ParameterPlace } from "../model/trainable_model.ts";
import type { Trainable } from "../model/trainable.ts";
import type { Learner } from "../train/learner.ts";
import type { AdamwSettings, LossScale, OptimizerName } from "../train/optimizer.ts";
import { queueWindow } from "../train/window_gradient.ts";
import type { WebgpuExecutor } from "./executor.ts";
import { makeGpuOptimizer } from "./optimizer.ts";

export interface GpuLearnerOptions {
  parameters: Parameter[];
  kind: OptimizerName;
  settings: AdamwSettings;
  /** Makes the model on parameters that lie where the optimiser has them. */
  makeModel(placeOf: (i: number) => ParameterPlace): Trainable;
}

/** Steps without overflow after which the scale is doubled again, up to where it began. */
const calmSteps = 200;
const firstScale = 2 ** 14;

export function gpuLearner(executor: WebgpuExecutor, options: GpuLearnerOptions): Learner {
  const { commands, allocate, target } = executor, { parameters, kind, settings } = options;
  const optimizer = makeGpuOptimizer({
    ...{ commands, allocate, maxBinding: target.maxBinding, kind, parameters, settings },
    halfCopy: target.f16,
  });
  const control = executor.view(optimizer.control);
  const model = options.makeModel((i) => {
    const { value, grad, half } = optimizer.placeOf(i);
    return { value: executor.view(value, half), grad: executor.view(grad) };
  });
  const largestScale = target.f16 ? firstScale : 1;
  let { factor: lossScale, calm }: LossScale = { factor: largestScale, calm: 0 };

  return {
    parameters,
    optimizer: {
      state: () => ({ ...optimizer.state(), ...target.f16 ? { lossScale: { factor: lossScale, calm } } : {} }),
      load(state) {
        optimizer.load(state);
        const { factor, calm: since } = state.lossScale ?? { factor: largestScale, calm: 0 };
        [lossScale, calm] = [Math.min(factor, largestScale), since];
      },
    },
    async step(rows, { learningRate, maxGradNorm, ...window }) {
      while (true) {
        const { passes, result } = await queueWindow(model, rows, { ...window, lossScale });
        optimizer.encodeStep({ learningRate, maxGradNorm, unscale: 1 / lossScale });
        const values = passes.flatMap((pass) => pass.values);
        const read = await executor.readAll([...values, control]);
        const { gradNorm, finite } = optimizer.finishStep(read.pop()!);
        const { loss, tokens } = result(passes.flatMap((pass) => pass.take(read.splice(0, pass.values.length))));
        if (!finite && lossScale > 1 && Number.isFinite(loss)) {
          lossScale /= 2;
          calm = 0;
          continue;
        }
        if (++calm >= calmSteps && lossScale < largestScale) {
          lossScale *= 2;
          calm = 0;
        }
        return { loss, gradNorm, tokens };
      }
    },
    evaluate: (rows) => model.evaluate(rows),
    pull: optimizer.pull,
    // deno-lint-ignore require-await
    async push() {
      optimizer.push();
    },
  };
}
