/**
 * Keys and values of the tokens so far, for every layer, in host memory shared with the executor. Sequence b has its
 * tokens at 0..length-1 of row b; what lies behind is hidden by the mask. Capacity grows in steps, since every new
 * capacity is a new shape for the executor.
 */
import type { Executor, Value } from "../ops.ts";
import { hidden } from "./batch.ts";

export interface KvCache {
  /** Makes room for positions 0..length-1 of every row. */
  reserve(length: number): void;
  /** Stores a layer's keys and values of one token, [G*S] each, taken at `from` of the given arrays. */
  store(layer: number, token: { row: number; position: number; k: Float32Array; v: Float32Array; from: number }): void;
  /** keys and values [B, C, G*S] of a layer. */
  values(layer: number): { keys: Value; values: Value };
  /** f32 [B, C]: 0 where the row's token at `positions[b]` sees, at distance < window, else hidden. */
  mask(positions: ArrayLike<number>, window: number): Value;
  release(): void;
}

const step = 64;

export function makeKvCache(
  executor: Executor,
  { layers, rows, width }: { layers: number; rows: number; width: number },
): KvCache {
  let capacity = 0;
  let held: { data: Float32Array; value: Value }[][] = Array.from({ length: layers }, () => []);

  const release = () => executor.release(...held.flat().map(({ value }) => value));

  return {
    reserve(length) {
      if (length <= capacity) return;
      const grown = Math.ceil(length / step) * step;
      const larger = held.map((pair) =>
        [0, 1].map((part) => {
          const data = new Float32Array(rows * grown * width), before = pair[part]?.data;
          for (let b = 0; before && b < rows; b++) {
            data.set(before.subarray(b * capacity * width, (b + 1) * capacity * width), b * grown * width);
          }
          return { data, value: executor.tensor(data, [rows, grown, width]) };
        })
      );
      release();
      held = larger;
      capacity = grown;
    },
    store(layer, { row, position, k, v, from }) {
      const at = (row * capacity + position) * width;
      held[layer][0].data.set(k.subarray(from, from + width), at);
      held[layer][1].data.set(v.subarray(from, from + width), at);
    },
    values: (layer) => ({ keys: held[layer][0].value, values: held[layer][1].value }),
    mask(positions, window) {
      const mask = new Float32Array(rows * capacity).fill(hidden);
      for (let b = 0; b < rows; b++) {
        const last = positions[b];
        mask.fill(0, b * capacity + Math.max(0, last - window + 1), b * capacity + last + 1);
      }
      return executor.tensor(mask, [rows, capacity]);
    },
    release,
  };
}
