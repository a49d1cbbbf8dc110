/** Cross-entropy kernels against the float64 reference. */
import { assertClose } from "../helpers/close.ts";
import { type FloatType, integers, type Operand, operandOf, rounding } from "../helpers/operand.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, output, runDispatches } from "../helpers/webgpu.ts";
import { softmaxGradient, softmaxLoss } from "../../lib/webgpu/cross_entropy_kernels.ts";

/** Loss of each row, its maximum and sum of exponentials, and softmax - onehot, in float64. */
function reference({ value: { data, shape: [N, V] } }: Operand, targets: number[]) {
  const loss: number[] = [], stats: number[] = [], gradient = new Float64Array(N * V);
  for (let n = 0; n < N; n++) {
    const row = Float64Array.from(data.subarray(n * V, (n + 1) * V));
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (const logit of row) sum += Math.exp(logit - top);
    stats.push(top, sum);
    loss.push(Math.log(sum) + top - row[targets[n]]);
    row.forEach((logit, v) => gradient[n * V + v] = Math.exp(logit - top) / sum - (v === targets[n] ? 1 : 0));
  }
  return { loss, stats, gradient };
}

/** Logits in (-range, range), every target somewhere else, the first and the last column among them. */
function rows(N: number, V: number, range: number, dtype: FloatType) {
  const logits = operandOf([N, V], randomFloats(N * V, V).map((x) => range * x), dtype);
  const targets = Array.from({ length: N }, (_, n) => n === 0 ? V - 1 : n * 7919 % V);
  return { logits, targets, labels: integers(...targets).tensor };
}

/**
 * Relative error of a sum of exponentials: exp of x is good to 3 + 2|x| units in the last place, |x| <= 2 * range where
 * it counts, but what is far below the maximum counts as little as it is: 3 + 2 * 8. A sum passes V/256/4 additions and
 * 40 more at most; a rescaling costs another exp of at most 8 that counts.
 */
const sumError = (V: number) => (V / 256 + 80) * 2 ** -23;

const shapes = [[1, 33], [17, 72], [5, 1], [3, 131], [2, 4096], [2, 50257], [1, 262144]];

gpuTest("softmaxLoss() and softmaxGradient()", async (gpu) => {
  for (const [i, [N, V]] of shapes.entries()) {
    const range = [1, 20][i % 2], typeGradient: FloatType = i < 4 ? "f32" : "f16", scale = 0.25;
    const { logits, targets, labels } = rows(N, V, range, V === 72 ? "f16" : "f32");
    const loss = output([N]), stats = output([N, 2]), gradient = output([N, V], typeGradient);
    const [foundLoss, foundStats, found] = await runDispatches(gpu, [
      softmaxLoss(logits.tensor, labels, loss, stats),
      softmaxGradient(logits.tensor, labels, stats, gradient, { scale }),
    ], [loss, stats, gradient]);
    const expected = reference(logits, targets), what = `[${N}, ${V}]`;
    // The loss is a difference of numbers below log(V) + 2 * range.
    const absolute = sumError(V) + (Math.log(V) + 3 * range) * 2 ** -22;
    assertClose(foundStats, expected.stats, { rtol: sumError(V), atol: 0, what: `${what} stats` });
    assertClose(foundLoss, expected.loss, { rtol: 0, atol: absolute, what: `${what} loss` });
    const { rtol, atol } = rounding[typeGradient];
    // exp of the smallest probability, -2 * range, is the worst.
    const close = { rtol: rtol + sumError(V) + (3 + 4 * range) * 2 ** -23, atol: atol + scale * sumError(V) };
    assertClose(found, expected.gradient.map((x) => scale * x), { ...close, what: `${what} gradient` });
  }
});

gpuTest("softmaxGradient() for some of the columns", async (gpu) => {
  for (const [V, parts] of [[131, [0, 33, 100, 131]], [96, [0, 32, 96]], [64, [0, 33, 64]]] as [number, number[]][]) {
    const { logits, targets, labels } = rows(3, V, 4, "f32"), { gradient, stats } = reference(logits, targets);
    const given = operandOf([3, 2], Float32Array.from(stats));
    for (const [i, to] of parts.slice(1).entries()) {
      const from = parts[i], y = output([3, to - from]);
      const call = softmaxGradient(logits.tensor, labels, given.tensor, y, { scale: 1, firstColumn: from });
      const [found] = await runDispatches(gpu, [call], [y]);
      const expected = [0, 1, 2].flatMap((n) => [...gradient.subarray(n * V + from, n * V + to)]);
      assertClose(found, expected, { rtol: sumError(V), what: `columns ${from} to ${to} of ${V}` });
    }
  }
});

gpuTest("softmaxLoss() of a row far from its target, and of logits far from zero", async (gpu) => {
  const data = Float32Array.from([3e4, 0, -3e4, 5, -1e4, -1e4, -1e4 + 1, -1e4]);
  const logits = operandOf([2, 4], data), loss = output([2]), stats = output([2, 2]), gradient = output([2, 4]);
  const labels = integers(2, 3).tensor;
  const [found, , dlogits] = await runDispatches(gpu, [
    softmaxLoss(logits.tensor, labels, loss, stats),
    softmaxGradient(logits.tensor, labels, stats, gradient, { scale: 1 }),
  ], [loss, stats, gradient]);
  const expected = reference(logits, [2, 3]);
  // A unit in the last place of 1e4, where two numbers of that size are subtracted.
  assertClose(found, expected.loss, { rtol: 2 ** -23, atol: 1e4 * 2 ** -23 });
  assertClose(dlogits, expected.gradient, { rtol: 0, atol: 2 ** -20 });
});
