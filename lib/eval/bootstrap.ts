/**
 * How far a mean over few rows can be trusted: the percentile bootstrap (Efron 1979). Rows are drawn again with
 * replacement, as many as there are, the mean is taken of each draw, and the interval holds the middle 95 % of these
 * means. It speaks of other rows of the same kind, not of other kinds, and with ten rows or fewer it is somewhat too narrow.
 */
import { lowbias32 } from "../model/hash.ts";

export const resamples = 2000;
export const confidence = 0.95;

/** What one row adds to a mean: mean = sum of `sum` / sum of `weight`. A loss weighs by its tokens, a score by 1. */
export interface Share {
  sum: number;
  weight: number;
}

export interface Estimate {
  value: number;
  /** Ends of the interval; null where one row says nothing of others. */
  low: number | null;
  high: number | null;
  rows: number;
}

/** The mean over rows and its interval; null without rows. The same seed gives the same numbers. */
export function estimateMean(shares: Share[], { seed }: { seed: number }): Estimate | null {
  return estimate(shares.length, (drawn) => meanOf(shares, drawn), { seed });
}

/** Mean after less mean before, of the same rows, drawn together: what differs between rows cancels out. */
export function estimateChange(before: Share[], after: Share[], { seed }: { seed: number }): Estimate | null {
  if (before.length !== after.length) throw new Error(`${before.length} rows before, ${after.length} after`);
  return estimate(before.length, (drawn) => meanOf(after, drawn) - meanOf(before, drawn), { seed });
}

/** `statistic` takes the places of rows, some of them several times. */
function estimate(
  rows: number,
  statistic: (drawn: Uint32Array) => number,
  { seed }: { seed: number },
): Estimate | null {
  if (rows === 0) return null;
  const value = statistic(Uint32Array.from({ length: rows }, (_, i) => i));
  if (rows === 1) return { value, low: null, high: null, rows };
  const found = new Float64Array(resamples), drawn = new Uint32Array(rows), stream = lowbias32(seed);
  for (let k = 0, at = 0; k < resamples; k++) {
    for (let i = 0; i < rows; i++) drawn[i] = Math.floor(lowbias32(stream + at++) / 2 ** 32 * rows);
    found[k] = statistic(drawn);
  }
  found.sort();
  const tail = (1 - confidence) / 2;
  return { value, low: quantile(found, tail), high: quantile(found, 1 - tail), rows };
}

function meanOf(shares: Share[], drawn: Uint32Array): number {
  let sum = 0, weight = 0;
  for (const i of drawn) {
    sum += shares[i].sum;
    weight += shares[i].weight;
  }
  return sum / weight;
}

/** Of sorted numbers, between the two nearest: numpy's default. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1), low = Math.floor(at), high = Math.ceil(at);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}
