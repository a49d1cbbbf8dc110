/** Comparison of two programs that run the same model: distributions of the next token, and greedy continuations. */
import assert from "node:assert/strict";
import { llamaCpp } from "./llama_cpp.ts";

/** KL(p || q) in nats of the distributions behind two arrays of logits; NaN when either holds one. */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  assert.equal(p.length, q.length);
  const [logP, logQ] = [logSoftmax(p), logSoftmax(q)];
  return logP.reduce((sum, x, i) => sum + Math.exp(x) * (x - logQ[i]), 0);
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0)) + largest;
  return Float64Array.from(logits, (x) => x - total);
}

/** Every pair of distributions within `limit` nats, NaN failing; returns the largest. */
export function assertSameDistributions(
  p: Float32Array[],
  q: Float32Array[],
  options: { limit: number; what: string },
): number {
  assert.equal(p.length, q.length, options.what);
  const found = p.map((logits, i) => klDivergence(logits, q[i]));
  const worst = Math.max(...found);
  assert.ok(worst <= options.limit, `${options.what}: KL ${found.map((kl) => kl.toExponential(2))} > ${options.limit}`);
  return worst;
}

/** Our greedy ids and llama.cpp's for each prompt, which must be equal; a difference names the place and both ids. */
export async function compareGreedy(options: {
  gguf: string;
  lora?: string;
  prompts: number[][];
  count: number;
  ours: (prompts: number[][], count: number) => Promise<number[][]>;
}): Promise<void> {
  const { gguf, lora, prompts, count, ours } = options;
  const [found, answer] = [
    await ours(prompts, count),
    await llamaCpp({ gguf, lora, exact: true, greedy: prompts.map((tokens) => ({ tokens, count })) }),
  ];
  for (const [i, expected] of answer.greedy.entries()) {
    assert.equal(expected.length, count);
    const at = expected.findIndex((id, k) => id !== found[i][k]);
    assert.ok(at < 0, `prompt ${i}: token ${at} of ${count} is ${found[i][at]}, llama.cpp says ${expected[at]}`);
  }
}
