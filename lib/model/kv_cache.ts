/**
 * Keys and values of the tokens so far, for every layer, in the executor's memory. Sequence b has its tokens in slots
 * b*C .. b*C + length-1; room for the whole answer is taken at once, so that nothing is copied and no shape changes.
 */
import type { Executor, Value } from "../ops.ts";
import { hidden } from "./batch.ts";

export interface KvCache {
  /** i32 [N]: the slots of tokens, by row and position in the row. */
  slots(rows: ArrayLike<number>, positions: ArrayLike<number>): Int32Array<ArrayBuffer>;
  /** Stores a layer's keys and values of tokens, [N, G*S] each, in the slots `index` i32 [N]. */
  store(layer: number, tokens: { k: Value; v: Value; index: Value }): void;
  /** keys and values [B, C, G*S] of a layer. */
  values(layer: number): { keys: Value; values: Value };
  /**
   * What row b's token at `positions[b]` sees, at distance < window: the inputs `lengths` and, for executors that want
   * it, `mask` (`Visible` in lib/ops.ts). To be released.
   */
  visible(positions: ArrayLike<number>, window: number): Record<string, Value>;
  release(): void;
}

/** Lengths are rounded up to a multiple of this, since every length is a new shape for the executor. */
const step = 64;

/** Room for `length` tokens in each of `rows` sequences. */
export function makeKvCache(
  executor: Executor,
  { layers, rows, length, width }: { layers: number; rows: number; length: number; width: number },
): KvCache {
  const capacity = Math.ceil(length / step) * step;
  const shape = [rows, capacity, width];
  const table = () => executor.cache?.(shape) ?? executor.tensor(new Float32Array(rows * capacity * width), shape);
  const held = Array.from({ length: layers }, () => ({ keys: table(), values: table() }));

  function mask(spans: Int32Array): Value {
    const mask = new Float32Array(rows * capacity).fill(hidden);
    for (let b = 0; b < rows; b++) mask.fill(0, b * capacity + spans[2 * b], b * capacity + spans[2 * b + 1]);
    return executor.tensor(mask, [rows, capacity]);
  }

  return {
    slots: (rows, positions) => Int32Array.from(rows, (row, n) => row * capacity + positions[n]),
    store(layer, { k, v, index }) {
      executor.storeRows(held[layer].keys, k, index);
      executor.storeRows(held[layer].values, v, index);
    },
    values: (layer) => held[layer],
    visible(positions, window) {
      const spans = new Int32Array(2 * rows);
      for (let b = 0; b < rows; b++) {
        spans[2 * b] = Math.max(0, positions[b] - window + 1);
        spans[2 * b + 1] = positions[b] + 1;
      }
      const lengths = executor.tensor(spans, [rows, 2]);
      return { lengths, ...executor.paddedAttention ? { mask: mask(spans) } : {} };
    },
    release: () => executor.release(...held.flatMap(({ keys, values }) => [keys, values])),
  };
}
