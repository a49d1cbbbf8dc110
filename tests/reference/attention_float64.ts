/**
 * Attention, its gradient and its one-token form as textbook loops in float64. Part of ops_float64.ts.
 *
 * Each packed token finds the tokens of its own row through `scatter` (row and position of a token); the padded layout
 * that executors compute in is not used, only checked. Letters as in lib/ops.ts.
 */
import type { AttentionOptions, Rows } from "../../lib/ops.ts";
import { expectShape, host, type HostValue } from "./host.ts";

interface Layout {
  S: number;
  /** For each packed token: [key token, value of the mask] for every token of its row. */
  visible: [number, number][][];
}

function layout(q: HostValue, k: HostValue, v: HostValue, rows: Rows<HostValue>, options: AttentionOptions): Layout {
  const { heads, kvHeads } = options;
  const [T, width] = q.shape, S = width / heads;
  const [B, L] = rows.gather.shape;
  if (!Number.isInteger(S) || heads % kvHeads !== 0) {
    throw new Error(`attention: ${heads}/${kvHeads} heads in ${width}`);
  }
  expectShape("attention k", k, [T, kvHeads * S]);
  expectShape("attention v", v, [T, kvHeads * S]);
  expectShape("attention scatter", rows.scatter, [T]);
  expectShape("attention live", rows.live, [B, L]);
  expectShape("attention mask", rows.mask, [L, L]);
  const place = Array.from(rows.scatter.data, (at) => ({ row: Math.floor(at / L), position: at % L }));
  for (let t = 0; t < T; t++) {
    const at = rows.scatter.data[t];
    if (rows.gather.data[at] !== t || rows.live.data[at] !== 1) {
      throw new Error(`attention: token ${t} is not at ${at}`);
    }
  }
  const visible = place.map((query) =>
    place.flatMap((key, u): [number, number][] =>
      key.row === query.row ? [[u, rows.mask.data[query.position * L + key.position]]] : []
    )
  );
  return { S, visible };
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
      const p = softmax(keys.map(([u, mask]) => scale * dot(q, at, k, (u * G + g) * S, S) + mask));
      keys.forEach(([u], i) => addTo(y, at, p[i], v, (u * G + g) * S, S));
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
      const p = softmax(keys.map(([u, mask]) => scale * dot(q, at, k, (u * G + g) * S, S) + mask));
      const dp = keys.map(([u]) => dot(dy, at, v, (u * G + g) * S, S));
      const mean = p.reduce((sum, weight, i) => sum + weight * dp[i], 0);
      keys.forEach(([u], i) => {
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
  keys: HostValue,
  values: HostValue,
  mask: HostValue,
  { heads: H, kvHeads: G, scale }: AttentionOptions,
): HostValue {
  const [B, width] = q.shape, S = width / H, C = keys.shape[1];
  expectShape("attentionCached keys", keys, [B, null, G * S]);
  expectShape("attentionCached values", values, [B, C, G * S]);
  expectShape("attentionCached mask", mask, [B, C]);
  const y = host(new Float64Array(q.data.length), q.shape);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h * G / H), at = (b * H + h) * S;
      const place = (c: number) => ((b * C + c) * G + g) * S;
      const scores = Array.from({ length: C }, (_, c) => scale * dot(q, at, keys, place(c), S) + mask.data[b * C + c]);
      softmax(scores).forEach((p, c) => addTo(y, at, p, values, place(c), S));
    }
  }
  return y;
}
