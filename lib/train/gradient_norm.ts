/**
 * The global norm of all gradients and the factor that clips it, as torch.nn.utils.clip_grad_norm_. The factor is left
 * to the optimiser to apply, so that gradients are read once more and never rewritten.
 */
import type { Parameter } from "../model/trainable.ts";

/** sqrt(sum of squares) over all parameters' gradients, summed in float64. NaN or Infinity when a gradient is. */
export function gradientNorm(parameters: Parameter[]): number {
  let sum = 0;
  for (const { grad } of parameters) sum += sumOfSquares(grad);
  return Math.sqrt(sum);
}

/** Four sums side by side, so that additions need not wait for each other. */
function sumOfSquares(x: Float32Array): number {
  const whole = x.length - (x.length % 4);
  let a = 0, b = 0, c = 0, d = 0;
  for (let i = 0; i < whole; i += 4) {
    a += x[i] * x[i];
    b += x[i + 1] * x[i + 1];
    c += x[i + 2] * x[i + 2];
    d += x[i + 3] * x[i + 3];
  }
  for (let i = whole; i < x.length; i++) a += x[i] * x[i];
  return a + b + (c + d);
}

/** min(1, maxNorm / (norm + 1e-6)); 1 when maxNorm is 0, which turns clipping off. */
export function clipFactor(norm: number, maxNorm: number): number {
  return maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
}
