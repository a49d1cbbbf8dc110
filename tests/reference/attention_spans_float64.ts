/** Attention over `spans` (lib/webgpu/attention_kernels.ts) as textbook loops in float64, with its gradients. */
import type { AttentionOptions } from "../../lib/ops.ts";

interface Inputs {
  /** [T, H*S]; k and v [T, G*S]. */
  q: ArrayLike<number>;
  k: ArrayLike<number>;
  v: ArrayLike<number>;
  spans: Int32Array;
}

/** Spans of rows laid one after the other, a query seeing itself and at most the `window` - 1 keys before. */
export function spansOf(rows: number[], window = Infinity): Int32Array<ArrayBuffer> {
  const spans: number[] = [];
  for (const length of rows) {
    const start = spans.length / 2;
    for (let t = start; t < start + length; t++) {
      spans.push(Math.max(start, t - window + 1), Math.min(start + length, t + window));
    }
  }
  return Int32Array.from(spans);
}

function dot(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, n: number): number {
  let sum = 0;
  for (let s = 0; s < n; s++) sum += a[i + s] * b[j + s];
  return sum;
}

/** Weights of the scores and the log of the sum of their exponentials. */
function softmax(scores: number[]): { p: number[]; lse: number } {
  const top = Math.max(...scores), weights = scores.map((score) => Math.exp(score - top));
  const sum = weights.reduce((a, b) => a + b, 0);
  return { p: weights.map((weight) => weight / sum), lse: top + Math.log(sum) };
}

/** Calls `visit` for every query t and head with the offsets of its vector and of those of the keys it sees. */
function eachQuery(
  { q, k, spans }: Inputs,
  { heads: H, kvHeads: G, scale }: AttentionOptions,
  visit: (query: { at: number; row: number; keys: number[]; p: number[]; lse: number; S: number }) => void,
): void {
  const T = spans.length / 2, S = q.length / T / H;
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < H; h++) {
      const at = (t * H + h) * S, g = Math.floor(h * G / H), keys: number[] = [];
      for (let u = spans[2 * t]; u <= t; u++) keys.push((u * G + g) * S);
      visit({ at, row: t * H + h, keys, S, ...softmax(keys.map((key) => scale * dot(q, at, k, key, S))) });
    }
  }
}

/** y [T, H*S] and lse [T, H]. */
export function attention64(inputs: Inputs, options: AttentionOptions): { y: Float64Array; lse: Float64Array } {
  const y = new Float64Array(inputs.q.length), lse = new Float64Array(inputs.spans.length / 2 * options.heads);
  eachQuery(inputs, options, ({ at, row, keys, p, lse: own, S }) => {
    lse[row] = own;
    keys.forEach((key, i) => {
      for (let s = 0; s < S; s++) y[at + s] += p[i] * inputs.v[key + s];
    });
  });
  return { y, lse };
}

/** dv += p*dy, dp = dy.v, ds = p*(dp - sum(p*dp)), dq += scale*ds*k, dk += scale*ds*q. */
export function attentionBackward64(inputs: Inputs & { dy: ArrayLike<number> }, options: AttentionOptions) {
  const { q, k, v, dy } = inputs, { scale } = options;
  const [dq, dk, dv] = [q, k, v].map(({ length }) => new Float64Array(length));
  eachQuery(inputs, options, ({ at, keys, p, S }) => {
    const dp = keys.map((key) => dot(dy, at, v, key, S));
    const mean = p.reduce((sum, weight, i) => sum + weight * dp[i], 0);
    keys.forEach((key, i) => {
      const ds = scale * p[i] * (dp[i] - mean);
      for (let s = 0; s < S; s++) {
        dv[key + s] += p[i] * dy[at + s];
        dq[at + s] += ds * k[key + s];
        dk[key + s] += ds * q[at + s];
      }
    });
  });
  return { dq, dk, dv };
}

/** y [T, H*S] over the rows spans[t][0] .. spans[t][1] - 1 of keys and values [rows, G*S]; 0 without any. */
export function attentionCached64(
  { q, keys, values, spans }: {
    q: ArrayLike<number>;
    keys: ArrayLike<number>;
    values: ArrayLike<number>;
    spans: Int32Array;
  },
  { heads: H, kvHeads: G, scale }: AttentionOptions,
): Float64Array {
  const T = spans.length / 2, S = q.length / T / H;
  const y = new Float64Array(q.length);
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < H; h++) {
      const at = (t * H + h) * S, g = Math.floor(h * G / H), places: number[] = [];
      for (let c = spans[2 * t]; c < spans[2 * t + 1]; c++) places.push((c * G + g) * S);
      const { p } = softmax(places.map((place) => scale * dot(q, at, keys, place, S)));
      places.forEach((place, i) => {
        for (let s = 0; s < S; s++) y[at + s] += p[i] * values[place + s];
      });
    }
  }
  return y;
}
