/**
 * Attention, its gradient and its one-token form as textbook loops in float64. Part of ops_float64.ts. Which keys a
 * token sees is taken from `spans` alone. Letters as in lib/ops.ts.
 */
import type { AttentionOptions, Cached, Rows } from "../../lib/ops.ts";
import { expectShape, host, type HostValue } from "./host.ts";

interface Layout {
  S: number;
  /** The keys that each token sees. */
  visible: number[][];
}

function layout(q: HostValue, k: HostValue, v: HostValue, rows: Rows<HostValue>, options: AttentionOptions): Layout {
  const { heads, kvHeads } = options;
  const [T, width] = q.shape, S = width / heads;
  if (!Number.isInteger(S) || heads % kvHeads !== 0) {
    throw new Error(`attention: ${heads}/${kvHeads} heads in ${width}`);
  }
  expectShape("attention k", k, [T, kvHeads * S]);
  expectShape("attention v", v, [T, kvHeads * S]);
  expectShape("attention spans", rows.spans, [T, 2]);
  const { data } = rows.spans;
  const visible = Array.from({ length: T }, (_, t) => range(data[2 * t], t + 1));
  visible.forEach((keys, t) => {
    if (!keys.includes(t)) throw new Error(`attention: token ${t} does not see itself`);
  });
  for (let u = 0; u < T; u++) {
    const seenBy = visible.flatMap((keys, t) => keys.includes(u) ? [t] : []);
    if (seenBy.join() !== range(u, data[2 * u + 1]).join()) {
      throw new Error(`attention: key ${u} is seen by ${seenBy}, its span ends at ${data[2 * u + 1]}`);
    }
  }
  return { S, visible };
}

function range(start: number, end: number): number[] {
  return Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);
}

/** softmax over the listed scores. */
function softmax(scores: number[]): number[] {
  const top = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - top));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** Sum over n elements of a, from i, times b, from j. */
function dot(a: HostValue, i: number, b: HostValue, j: number, n: number): number {
  let sum = 0;
  for (let s = 0; s < n; s++) sum += a.data[i + s] * b.data[j + s];
  return sum;
}

/** y[at...] += factor * x[from...], n elements. */
function addTo(y: HostValue, at: number, factor: number, x: HostValue, from: number, n: number): void {
  for (let s = 0; s < n; s++) y.data[at + s] += factor * x.data[from + s];
}

export function attention(
  q: HostValue,
  k: HostValue,
  v: HostValue,
  rows: Rows<HostValue>,
  options: AttentionOptions,
): HostValue {
  const { heads: H, kvHeads: G, scale } = options;
  const { S, visible } = layout(q, k, v, rows, options);
  const y = host(new Float64Array(q.data.length), q.shape);
  visible.forEach((keys, t) => {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h * G / H), at = (t * H + h) * S;
      const p = softmax(keys.map((u) => scale * dot(q, at, k, (u * G + g) * S, S)));
      keys.forEach((u, i) => addTo(y, at, p[i], v, (u * G + g) * S, S));
    }
  });
  return y;
}

/** With p = softmax(s): dv += p*dy, dp = dy.v, ds = p*(dp - sum(p*dp)), dq += scale*ds*k, dk += scale*ds*q. */
export function attentionBackward(
  dy: HostValue,
  q: HostValue,
  k: HostValue,
  v: HostValue,
  rows: Rows<HostValue>,
  options: AttentionOptions,
): { y: HostValue; dq: HostValue; dk: HostValue; dv: HostValue } {
  const { heads: H, kvHeads: G, scale } = options;
  expectShape("attentionBackward dy", dy, [...q.shape]);
  const { S, visible } = layout(q, k, v, rows, options);
  const [y, dq, dk, dv] = [q, q, k, v].map((x) => host(new Float64Array(x.data.length), x.shape));
  visible.forEach((keys, t) => {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h * G / H), at = (t * H + h) * S;
      const p = softmax(keys.map((u) => scale * dot(q, at, k, (u * G + g) * S, S)));
      const dp = keys.map((u) => dot(dy, at, v, (u * G + g) * S, S));
      const mean = p.reduce((sum, weight, i) => sum + weight * dp[i], 0);
      keys.forEach((u, i) => {
        const other = (u * G + g) * S, ds = p[i] * (dp[i] - mean);
        addTo(y, at, p[i], v, other, S);
        addTo(dv, other, p[i], dy, at, S);
        addTo(dq, at, scale * ds, k, other, S);
        addTo(dk, other, scale * ds, q, at, S);
      });
    }
  });
  return { y, dq, dk, dv };
}

export function attentionCached(
  q: HostValue,
  k: HostValue,
  v: HostValue,
  { table }: Cached<HostValue>,
  { heads: H, kvHeads: G, scale }: AttentionOptions,
): HostValue {
  const { keys, values, index, spans } = table!;
  const [T, width] = q.shape, S = width / H, D = G * S;
  expectShape("attentionCached k", k, [T, D]);
  expectShape("attentionCached v", v, [T, D]);
  expectShape("attentionCached keys", keys, [null, null, D]);
  expectShape("attentionCached values", values, [...keys.shape]);
  expectShape("attentionCached index", index, [T]);
  expectShape("attentionCached spans", spans, [T, 2]);
  for (let t = 0; t < T; t++) {
    for (let d = 0; d < D; d++) {
      keys.data[index.data[t] * D + d] = k.data[t * D + d];
      values.data[index.data[t] * D + d] = v.data[t * D + d];
    }
  }
  const y = host(new Float64Array(q.data.length), q.shape);
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h * G / H), at = (t * H + h) * S;
      const place = (row: number) => (row * G + g) * S;
      const rows = range(spans.data[2 * t], spans.data[2 * t + 1]);
      const p = softmax(rows.map((row) => scale * dot(q, at, keys, place(row), S)));
      rows.forEach((row, i) => addTo(y, at, p[i], values, place(row), S));
    }
  }
  return y;
}
