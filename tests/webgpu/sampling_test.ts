/** Choice of tokens on the device: against the definition in float64, and its frequencies against softmax. */
import assert from "node:assert/strict";
import { type FloatType, operand, operandOf } from "../helpers/operand.ts";
import { gpuTest, input, output, runDispatches, type TestTensor } from "../helpers/webgpu.ts";
import { lowbias32 } from "../../lib/model/hash.ts";
import { sampleToken } from "../../lib/model/sample.ts";
import type { SampleOptions } from "../../lib/ops.ts";
import { sample, sampleSettings } from "../../lib/webgpu/sampling_kernels.ts";
import type { Numbers } from "../reference/host.ts";

const plain: SampleOptions = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, seed: 0, row: 0, step: 0 };

/** The call with the same settings for every row but its number, or with its own. */
function choose(logits: TestTensor, token: TestTensor, options: SampleOptions | SampleOptions[]) {
  const [B, V] = logits.shape;
  const all = Array.isArray(options) ? options : Array.from({ length: B }, (_, row) => ({ ...options, row }));
  return sample(logits, input([B, 8], sampleSettings(all, V)), token);
}

gpuTest("sample() at temperature 0 takes the first of the largest", async (gpu) => {
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
    const [found] = await runDispatches(gpu, [
      choose(logits.tensor, token, { ...plain, temperature: 0, top_k: 3, seed: 1, step: 1 }),
    ], [token]);
    assert.deepEqual([...found], expected, `[${B}, ${V}] ${dtype}`);
  }
});

/** What the kernel maximises, -Infinity for tokens that top-k leaves out. */
function scores(row: Numbers, index: number, { temperature, top_k, seed, step }: SampleOptions): number[] {
  const stream = lowbias32(lowbias32(lowbias32(seed + 0x9e3779b9) ^ index) + step);
  const floor = top_k ? Float64Array.from(row).sort().at(-top_k)! : -Infinity;
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
  for (const [B, V, dtype, top_k] of cases) {
    const logits = operand([B, V], 7, { dtype, factor: 6 });
    for (const step of [0, 1, 12345]) {
      const options = { ...plain, temperature: 0.8, top_k, seed: 42, step }, token = output([B], "i32");
      const [found] = await runDispatches(gpu, [choose(logits.tensor, token, options)], [token]);
      for (let b = 0; b < B; b++) {
        const score = scores(logits.value.data.subarray(b * V, (b + 1) * V), b, options);
        const best = score.reduce((a, x) => Math.max(a, x), -Infinity);
        // Logarithms are good to 2^-21, twice, the first of a number above 1/16; sums are below 32.
        const error = 2 ** -21 + 16 * 2 ** -21 + 32 * 2 ** -23;
        assert.ok(score[found[b]] >= best - 2 * error, `[${B}, ${V}] top ${top_k}: token ${found[b]} of row ${b}`);
      }
    }
  }
});

gpuTest("sample() chooses what sampleToken() does", async (gpu) => {
  const limits: Partial<SampleOptions>[] = [
    { top_k: 3 },
    { top_p: 0.7 },
    { min_p: 0.3 },
    { top_k: 50, top_p: 0.9, min_p: 0.02 },
    { top_p: 0 },
    { min_p: 1 },
  ];
  for (const [B, V, dtype] of [[40, 36, "f32"], [40, 33, "f16"], [4, 131072, "f32"]] as const) {
    const logits = operand([B, V], V, { dtype, factor: 6 }), { data } = logits.value;
    // The second row's are all equal; in the third the second largest is there twice.
    for (let v = 0; v < V; v++) logits.tensor.data![V + v] = data[V + v] = 1;
    for (const v of [0, 7, 19]) logits.tensor.data![2 * V + v] = data[2 * V + v] = v === 7 ? 8 : 7.5;
    for (const [i, limit] of limits.entries()) {
      const options = { ...plain, temperature: i % 2 === 0 ? 1 : 2.5, seed: 11, step: i, ...limit };
      const token = output([B], "i32");
      const [found] = await runDispatches(gpu, [choose(logits.tensor, token, options)], [token]);
      const expected = Array.from({ length: B }, (_, row) => {
        const values = Float32Array.from(data.subarray(row * V, (row + 1) * V));
        return sampleToken(values, { ...options, row, history: [] });
      });
      assert.deepEqual([...found], expected, `[${B}, ${V}] ${dtype} ${JSON.stringify(options)}`);
    }
  }
});

gpuTest("sample() has softmax's frequencies, and none beyond what is left", async (gpu) => {
  const B = 6000, V = 36, temperature = 1.7, one = operand([V], 3, { factor: 3 }).value.data;
  const data = Float32Array.from({ length: B * V }, (_, i) => one[i % V]);
  const weightOf = (logit: number) => Math.exp(logit / temperature);
  const sorted = Array.from(one, weightOf).sort((a, b) => b - a), total = sorted.reduce((a, b) => a + b);
  let sum = 0;
  const last = sorted.find((weight) => (sum += weight) >= 0.6 * total)!;
  const cases: [Partial<SampleOptions>, number][] = [
    [{}, 0],
    [{ top_k: 10 }, sorted[9]],
    [{ top_p: 0.6 }, last],
    [{ min_p: 0.25 }, 0.25 * sorted[0]],
  ];
  for (const [limit, floor] of cases) {
    const logits = operandOf([B, V], data), token = output([B], "i32");
    const call = choose(logits.tensor, token, { ...plain, temperature, seed: 5, step: 9, ...limit });
    const [found] = await runDispatches(gpu, [call], [token]);
    const weights = Array.from(one, weightOf).map((weight) => weight >= floor ? weight : 0);
    const left = weights.reduce((a, b) => a + b), counts = new Array(V).fill(0);
    for (const v of found) counts[v]++;
    let chiSquare = 0, kinds = 0;
    for (let v = 0; v < V; v++) {
      if (weights[v] === 0) assert.equal(counts[v], 0);
      else {
        const expected = B * weights[v] / left;
        chiSquare += (counts[v] - expected) ** 2 / expected;
        kinds++;
      }
    }
    // Mean kinds - 1, variance twice that: five deviations.
    assert.ok(chiSquare < kinds - 1 + 5 * Math.sqrt(2 * (kinds - 1)), `chi-square ${chiSquare} of ${kinds} tokens`);
  }
});

gpuTest("sample() chooses each row by its own settings", async (gpu) => {
  const V = 72, one = operand([V], 5, { factor: 4 }).value.data;
  const all: SampleOptions[] = [
    plain,
    { ...plain, temperature: 0 },
    { ...plain, temperature: 2, top_k: 5, seed: 3, row: 7, step: 4 },
    { ...plain, top_p: 0.5, seed: 4, step: 1 },
    { ...plain, temperature: 0, top_p: 0.1, min_p: 0.5, seed: 9 },
    { ...plain, temperature: 3, min_p: 0.2, seed: 0xffffffff, step: 1000 },
    { ...plain, top_k: 20, top_p: 0.8, min_p: 0.01, seed: 12 },
  ];
  const logits = operandOf([all.length, V], Float32Array.from({ length: all.length * V }, (_, i) => one[i % V]));
  const token = output([all.length], "i32");
  const [found] = await runDispatches(gpu, [choose(logits.tensor, token, all)], [token]);
  const expected = all.map((options) => sampleToken(Float32Array.from(one), { ...options, history: [] }));
  assert.deepEqual([...found], expected);
});
