/** Kernel calls of softmax cross-entropy over whole rows of logits. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, vectorsOf } from "./vectors.ts";

/**
 * loss[n] = -log softmax(logits[n])[targets[n]], and stats[n] = (max, sum of exp(logits[n] - max)) for softmaxGradient.
 * logits [N, V], targets i32 [N], loss f32 [N], stats f32 [N, 2].
 */
export function softmaxLoss<T extends TensorLike>(logits: T, targets: T, loss: T, stats: T): Dispatch<T> {
  const [N, V] = logits.shape, { size, of, Float, share } = vectorsOf(V);
  return {
    kernel: "softmax_loss",
    constants: { size, share, Logits: of(logits), Float },
    tensors: [logits, targets, loss, stats],
    params: [N, V / size],
    grid: spread(N),
    work: { bytes: bytesMoved(logits), flop: 3 * N * V },
  };
}

/**
 * dlogits = scale * (softmax(logits) - onehot(targets)), for C columns of V from `firstColumn` on.
 * logits [N, V], targets i32 [N], stats f32 [N, 2] of softmaxLoss, dlogits [N, C].
 */
export function softmaxGradient<T extends TensorLike>(
  logits: T,
  targets: T,
  stats: T,
  dlogits: T,
  { scale, firstColumn = 0 }: { scale: number; firstColumn?: number },
): Dispatch<T> {
  const [, V] = logits.shape, [N, C] = dlogits.shape, { size, of, Float } = vectorsOf(V, C, firstColumn);
  const count = N * C / size;
  return {
    kernel: "softmax_gradient",
    constants: {
      ...{ size, Logits: of(logits), Dlogits: of(dlogits), Float },
      ...size === 1 ? { Column: "u32", offsets: "0u" } : {},
    },
    tensors: [logits, targets, stats, dlogits],
    params: [count, C / size, V / size, firstColumn / size, { f32: scale }],
    grid: spread(Math.ceil(count / 256)),
    work: {
      bytes: bytesMoved({ shape: dlogits.shape, dtype: logits.dtype }, dlogits),
      flop: 4 * elements(dlogits.shape),
    },
  };
}
