/**
 * A packed batch on the host: rows laid one after the other without padding, and where they lie. Linear layers, norms
 * and the head see only real tokens; attention finds its rows through `Rows` (lib/ops.ts).
 */
import type { Executor, Rows, Value } from "../ops.ts";
import type { ModelConfig, Rope } from "./config.ts";
import { ropeTables } from "./rope.ts";
import type { Row } from "./trainable.ts";

/** Added to a score that must not be seen: finite, so that a row of padding stays free of NaN. */
export const hidden = -1e30;

export interface Batch {
  /** i32 [T]. */
  tokens: Int32Array;
  /** Row of each token and its position there, [T]. */
  rowOf: Int32Array;
  positions: Int32Array;
  /** Number of rows B and length of the longest, L. */
  count: number;
  longest: number;
  gather: Int32Array;
  scatter: Int32Array;
  live: Float32Array;
  /** [N]: packed tokens whose successor is a target, that successor, and the row it belongs to. */
  labelled: Int32Array;
  labels: Int32Array;
  labelRow: Int32Array;
}

export function makeBatch(rows: Pick<Row, "tokens" | "targets">[]): Batch {
  const T = rows.reduce((sum, row) => sum + row.tokens.length, 0);
  const B = rows.length, L = rows.reduce((max, row) => Math.max(max, row.tokens.length), 1);
  const batch = {
    tokens: new Int32Array(T),
    rowOf: new Int32Array(T),
    positions: new Int32Array(T),
    count: B,
    longest: L,
    gather: new Int32Array(B * L),
    scatter: new Int32Array(T),
    live: new Float32Array(B * L),
  };
  const labelled: number[] = [], labels: number[] = [], labelRow: number[] = [];
  let start = 0;
  rows.forEach((row, b) => {
    batch.gather.fill(start, b * L, (b + 1) * L);
    for (let l = 0; l < row.tokens.length; l++) {
      const t = start + l;
      batch.tokens[t] = row.tokens[l];
      batch.rowOf[t] = b;
      batch.positions[t] = l;
      batch.gather[b * L + l] = t;
      batch.scatter[t] = b * L + l;
      batch.live[b * L + l] = 1;
      if (l + 1 < row.tokens.length && row.targets[l + 1]) {
        labelled.push(t);
        labels.push(row.tokens[l + 1]);
        labelRow.push(b);
      }
    }
    start += row.tokens.length;
  });
  return {
    ...batch,
    labelled: Int32Array.from(labelled),
    labels: Int32Array.from(labels),
    labelRow: Int32Array.from(labelRow),
  };
}

/** The batch as values: what every layer of one type reads besides its weights. */
export interface BatchValues {
  full: Record<string, Value>;
  sliding: Record<string, Value>;
}

export function batchValues(executor: Executor, batch: Batch, config: ModelConfig): BatchValues {
  const { count: B, longest: L } = batch, T = batch.tokens.length;
  const shared = executor.paddedAttention && {
    "rows.gather": executor.tensor(batch.gather, [B, L]),
    "rows.scatter": executor.tensor(batch.scatter, [T]),
    "rows.live": executor.tensor(batch.live, [B, L]),
  };
  const layer = (rope: Rope, window: number) => {
    const { cos, sin } = ropeTables(rope, config.headDim, batch.positions);
    return {
      "rows.spans": executor.tensor(spansOf(batch.positions, window), [T, 2], "spans"),
      ...shared && { ...shared, "rows.mask": executor.tensor(causalMask(L, window), [L, L]) },
      cos: executor.tensor(cos, [T, config.headDim / 2], "rope"),
      sin: executor.tensor(sin, [T, config.headDim / 2], "rope"),
    };
  };
  const full = layer(config.rope, Infinity);
  const slides = config.layerTypes.includes("sliding");
  return { full, sliding: slides ? layer(config.ropeLocal, config.slidingWindow) : full };
}

export function releaseBatch(executor: Executor, { full, sliding }: BatchValues): void {
  executor.release(...new Set([...Object.values(full), ...Object.values(sliding)]));
}

export function rowsOf<V extends Value>(inputs: Record<string, V>): Rows<V> {
  const { "rows.spans": spans, "rows.gather": gather, "rows.scatter": scatter } = inputs;
  if (!gather) return { spans };
  return { spans, padded: { gather, scatter, live: inputs["rows.live"], mask: inputs["rows.mask"] } };
}

/** `Rows.spans` [T, 2] of tokens at these positions of their rows, a query seeing itself and `window` - 1 keys before. */
export function spansOf(positions: Int32Array, window: number): Int32Array<ArrayBuffer> {
  const T = positions.length, spans = new Int32Array(2 * T);
  for (let t = T - 1, end = T; t >= 0; t--) {
    const start = t - positions[t];
    spans[2 * t] = Math.max(start, t - window + 1);
    spans[2 * t + 1] = Math.min(end, t + window);
    if (t === start) end = t;
  }
  return spans;
}

/** [L, L]: 0 where key m <= query l and l - m < window, else `hidden`. */
export function causalMask(L: number, window: number): Float32Array {
  const mask = new Float32Array(L * L).fill(hidden);
  for (let l = 0; l < L; l++) mask.fill(0, l * L + Math.max(0, l - window + 1), l * L + l + 1);
  return mask;
}
