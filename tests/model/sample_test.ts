import assert from "node:assert/strict";
import { sampleToken, type SamplingOptions } from "../../lib/model/sample.ts";
import { randomNumbers } from "../helpers/finite_difference.ts";

/** How often each token comes in `draws` draws. */
function frequencies(logits: number[], options: SamplingOptions, draws = 4000): number[] {
  const counts = new Array(logits.length).fill(0);
  for (let row = 0; row < draws; row++) {
    counts[sampleToken(Float32Array.from(logits), { ...options, history: [], row, step: 0 })]++;
  }
  return counts.map((count) => count / draws);
}

const logits = [Math.log(0.5), Math.log(0.05), Math.log(0.3), Math.log(0.15)];

/** 4000 draws stray by at most sqrt(0.25/4000) = 0.008 (one deviation). */
function assertNear(found: number[], expected: number[]): void {
  found.forEach((x, i) => assert.ok(Math.abs(x - expected[i]) < 0.032, `token ${i}: ${x}, expected ${expected[i]}`));
  found.forEach((x, i) => expected[i] === 0 && assert.equal(x, 0, `token ${i} is excluded`));
}

Deno.test("sampleToken() without temperature takes the first of the largest", () => {
  assert.equal(sampleToken(Float32Array.of(1, 3, 3, 2), { history: [], row: 0, step: 0 }), 1);
  assert.equal(sampleToken(Float32Array.of(-1, -3), { history: [], row: 5, step: 0, temperature: 0, top_k: 2 }), 0);
});

Deno.test("sampleToken() draws by softmax of logits over temperature", () => {
  assertNear(frequencies(logits, { temperature: 1 }), [0.5, 0.05, 0.3, 0.15]);
  const squares = [0.25, 0.0025, 0.09, 0.0225], sum = squares.reduce((a, b) => a + b);
  assertNear(frequencies(logits, { temperature: 0.5 }), squares.map((x) => x / sum));
});

Deno.test("sampleToken() keeps top-k, then top-p of what is left, then min-p", () => {
  assertNear(frequencies(logits, { temperature: 1, top_k: 2 }), [0.625, 0, 0.375, 0]);
  assertNear(frequencies(logits, { temperature: 1, top_k: 1 }), [1, 0, 0, 0]);
  assertNear(frequencies(logits, { temperature: 1, top_k: 99 }), [0.5, 0.05, 0.3, 0.15]);
  // 0.5 + 0.3 reach 0.79, 0.5 alone does not reach 0.51.
  assertNear(frequencies(logits, { temperature: 1, top_p: 0.79 }), [0.625, 0, 0.375, 0]);
  assertNear(frequencies(logits, { temperature: 1, top_p: 0.49 }), [1, 0, 0, 0]);
  // Of the two that top-k leaves the first has 0.625.
  assertNear(frequencies(logits, { temperature: 1, top_k: 2, top_p: 0.6 }), [1, 0, 0, 0]);
  assertNear(frequencies(logits, { temperature: 1, min_p: 0.2 }), [0.5 / 0.95, 0, 0.3 / 0.95, 0.15 / 0.95]);
  assertNear(frequencies(logits, { temperature: 1, top_p: 0.96, min_p: 0.5 }), [0.625, 0, 0.375, 0]);
});

Deno.test("sampleToken() with top-p over a flat vocabulary keeps that share of it", () => {
  const flat = new Float32Array(1009).map((_, v) => -v * 1e-6);
  const seen = new Set<number>();
  for (let row = 0; row < 3000; row++) {
    seen.add(sampleToken(flat.slice(), { temperature: 1, top_p: 0.1, history: [], row, step: 0 }));
  }
  assert.ok(Math.max(...seen) <= 101 && seen.size > 90, `${seen.size} tokens up to ${Math.max(...seen)}`);
});

Deno.test("sampleToken() with a steep distribution finds tokens far below the top for a large k", () => {
  const steep = Array.from({ length: 50 }, (_, v) => -100 * v);
  assert.deepEqual(frequencies(steep, { temperature: 1, top_k: 40 }, 50)[0], 1);
  assertNear(frequencies([0, -1000, -1000.5], { temperature: 1000, top_k: 2 }), [0.731, 0.269, 0]);
});

Deno.test("sampleToken() makes repeated tokens less likely, whatever their sign and however often they came", () => {
  const at = (logits: number[], penalty: number) => {
    const copy = Float32Array.from(logits);
    sampleToken(copy, { repetition_penalty: penalty, history: [1, 2, 1, 1], row: 0, step: 0 });
    return [...copy];
  };
  assert.deepEqual(at([4, 4, -4, -4], 2), [4, 2, -8, -4]);
});

Deno.test("sampleToken() repeats itself for equal seed, row and step only", () => {
  const wide = Float32Array.from(randomNumbers(257, 5));
  const draw = (seed: number, row: number, step: number) =>
    sampleToken(wide.slice(), { temperature: 2, seed, row, step, history: [] });
  const all = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]];
  const tokens = all.map(([seed, row, step]) => draw(seed, row, step));
  assert.deepEqual(all.map(([seed, row, step]) => draw(seed, row, step)), tokens);
  assert.ok(new Set(tokens).size >= 6, tokens.join());
});
