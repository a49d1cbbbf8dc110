/** Choice of tokens on the device: against the definition in float64, and its frequencies against softmax. */
import assert from "node:assert/strict";
import { type FloatType, operand, operandOf } from "../helpers/operand.ts";
import { gpuTest, output, runDispatches } from "../helpers/webgpu.ts";
import { lowbias32 } from "../../lib/model/hash.ts";
import { argmax, sample, type SampleOptions } from "../../lib/webgpu/sampling_kernels.ts";
import type { Numbers } from "../reference/host.ts";

gpuTest("argmax() takes the first of the largest", async (gpu) => {
  for (const [B, V, dtype] of [[1, 33, "f32"], [17, 72, "f16"], [3, 50257, "f32"], [2, 131072, "f32"]] as const) {
    const logits = operand([B, V], V, { dtype, factor: 10 }), data = logits.value.data;
    const expected = Array.from({ length: B }, (_, b) => {
      const row = data.subarray(b * V, (b + 1) * V), last = V - 1 - b;
      // Equal largest ones, in one lane and in others, in the first row in the last place only.
      const places = b === 0 ? [V - 1] : [last, last >> 1, (last >> 1) + 1, last % 29 + 3];
      for (const place of places) row[place] = logits.tensor.data![b * V + place] = 11;
      return Math.min(...places);
    });
    const token = output([B], "i32");
    const [found] = await runDispatches(gpu, [argmax(logits.tensor, token)], [token]);
    assert.deepEqual([...found], expected, `[${B}, ${V}] ${dtype}`);
  }
});

/** What the kernel maximises, -Infinity for tokens that top-k leaves out. */
function scores(row: Numbers, index: number, { temperature, topK, seed, step }: SampleOptions): number[] {
  const stream = lowbias32(lowbias32(lowbias32(seed + 0x9e3779b9) ^ index) + step);
  const floor = topK ? Float64Array.from(row).sort().at(-topK)! : -Infinity;
  return Array.from(row, (logit, v) => {
    const u = ((lowbias32(stream + v) >>> 9) + 0.5) / 2 ** 23;
    return logit >= floor ? logit / temperature - Math.log(-Math.log1p(-u)) : -Infinity;
  });
}

gpuTest("sample() draws by its formula", async (gpu) => {
  const cases: [number, number, FloatType, number][] = [
    [1, 33, "f32", 0],
    [17, 72, "f32", 5],
    [5, 131, "f16", 1],
    [3, 50257, "f32", 40],
    [2, 131072, "f32", 64],
  ];
  for (const [B, V, dtype, topK] of cases) {
    const logits = operand([B, V], 7, { dtype, factor: 6 });
    for (const step of [0, 1, 12345]) {
      const options = { temperature: 0.8, topK, seed: 42, step }, token = output([B], "i32");
      const [found] = await runDispatches(gpu, [sample(logits.tensor, token, options)], [token]);
      for (let b = 0; b < B; b++) {
        const score = scores(logits.value.data.subarray(b * V, (b + 1) * V), b, options);
        const best = score.reduce((a, x) => Math.max(a, x), -Infinity);
        // Logarithms are good to 2^-21, twice, the first of a number above 1/16; sums are below 32.
        const error = 2 ** -21 + 16 * 2 ** -21 + 32 * 2 ** -23;
        assert.ok(score[found[b]] >= best - 2 * error, `[${B}, ${V}] top ${topK}: token ${found[b]} of row ${b}`);
      }
    }
  }
});

gpuTest("sample() has softmax's frequencies, and none beyond the k-th", async (gpu) => {
  const B = 6000, V = 36, temperature = 1.7, one = operand([V], 3, { factor: 3 }).value.data;
  const data = Float32Array.from({ length: B * V }, (_, i) => one[i % V]);
  for (const topK of [0, 10]) {
    const logits = operandOf([B, V], data), token = output([B], "i32");
    const call = sample(logits.tensor, token, { temperature, topK, seed: 5, step: 9 });
    const [found] = await runDispatches(gpu, [call], [token]);
    const floor = topK ? Float64Array.from(one).sort().at(-topK)! : -Infinity;
    const weights = Array.from(one, (logit) => logit >= floor ? Math.exp(logit / temperature) : 0);
    const total = weights.reduce((a, b) => a + b), counts = new Array(V).fill(0);
    for (const v of found) counts[v]++;
    let chiSquare = 0, kinds = 0;
    for (let v = 0; v < V; v++) {
      if (weights[v] === 0) assert.equal(counts[v], 0);
      else {
        const expected = B * weights[v] / total;
        chiSquare += (counts[v] - expected) ** 2 / expected;
        kinds++;
      }
    }
    // Mean kinds - 1, variance twice that: five deviations.
    assert.ok(chiSquare < kinds - 1 + 5 * Math.sqrt(2 * (kinds - 1)), `chi-square ${chiSquare} of ${kinds} tokens`);
  }
});

gpuTest("sample() at temperature 0 is argmax()", async (gpu) => {
  const logits = operand([5, 40], 1), token = output([5], "i32"), same = output([5], "i32");
  const [found, expected] = await runDispatches(gpu, [
    sample(logits.tensor, token, { temperature: 0, seed: 1, step: 1 }),
    argmax(logits.tensor, same),
  ], [token, same]);
  assert.deepEqual(found, expected);
});
