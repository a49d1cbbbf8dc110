/**
 * Keys and values of the tokens so far, for every layer, in the executor's memory: a number of slots, each with room for
 * one sequence. All room is taken at once, so that nothing is copied and no shape changes.
 */
import type { Cached, Executor, Value } from "../ops.ts";

/** New tokens of a sequence: where it lies, how many of its tokens are stored already, and how many come. */
export interface Piece {
  slot: number;
  start: number;
  count: number;
}

export interface KvCache {
  readonly slots: number;
  /** Tokens that a slot has room for. */
  readonly capacity: number;
  /**
   * What layers of one kind of attention need to know of a pass, as inputs of a segment (`cachedOf`), at distances below
   * `window`. To be released.
   */
  places(pieces: Piece[], window: number): Record<string, Value>;
  /** Keys and values of one layer, inputs beside these: those that every pass has, and those of the pieces' slots. */
  fixed(layer: number): Record<string, Value>;
  values(layer: number, pieces: Piece[]): Record<string, Value>;
  /** i32 [N]: rows of the table for store(), of all tokens of all pieces. */
  rows(pieces: Piece[]): Int32Array<ArrayBuffer>;
  /** Stores a layer's keys and values of tokens that a pass without a cache made, [N, G*S] each. Not with `paddedAttention`. */
  store(layer: number, tokens: { k: Value; v: Value; index: Value }): void;
  release(): void;
}

/** Lengths are rounded up to a multiple of this, since every length is a new shape for the executor. */
const step = 64;

export interface CacheShape {
  layers: number;
  slots: number;
  /** Tokens of a slot. */
  length: number;
  kvHeads: number;
  headDim: number;
}

/** Numbers that a cache holds for each token. */
export function cacheWidth({ layers, kvHeads, headDim }: Omit<CacheShape, "slots" | "length">): number {
  return 2 * layers * kvHeads * headDim;
}

export function makeKvCache(executor: Executor, shape: CacheShape): KvCache {
  const rounded = (length: number) => Math.ceil(length / step) * step;
  return executor.paddedAttention
    // One more, for the double of a last token.
    ? slotCache(executor, { ...shape, capacity: rounded(shape.length + 1) })
    : tableCache(executor, { ...shape, capacity: rounded(shape.length) });
}

type Room = CacheShape & { capacity: number };

/** Row of each new token in a table of all slots. */
function rowsOf(pieces: Piece[], capacity: number): Int32Array<ArrayBuffer> {
  return Int32Array.from(positionsOf(pieces), ([slot, position]) => slot * capacity + position);
}

/** Slot and position of each new token. */
function positionsOf(pieces: Piece[]): [slot: number, position: number][] {
  return pieces.flatMap(({ slot, start, count }) =>
    Array.from({ length: count }, (_, i): [number, number] => [slot, start + i])
  );
}

function tableCache(executor: Executor, { layers, slots, capacity, kvHeads, headDim }: Room): KvCache {
  const shape = [slots, capacity, kvHeads * headDim], size = shape.reduce((a, b) => a * b, 1);
  const table = () => executor.cache?.(shape) ?? executor.tensor(new Float32Array(size), shape);
  const held = Array.from({ length: layers }, () => ({ keys: table(), values: table() }));
  return {
    ...{ slots, capacity },
    rows: (pieces) => rowsOf(pieces, capacity),
    places(pieces, window) {
      const index = rowsOf(pieces, capacity);
      const spans = Int32Array.from(
        positionsOf(pieces).flatMap(([slot, position]) =>
          [Math.max(0, position - window + 1), position + 1]
            .map((place) => slot * capacity + place)
        ),
      );
      return {
        "cache.index": executor.tensor(index, [index.length]),
        "cache.spans": executor.tensor(spans, [index.length, 2]),
      };
    },
    fixed: (layer) => ({ "cache.keys": held[layer].keys, "cache.values": held[layer].values }),
    values: () => ({}),
    store(layer, { k, v, index }) {
      executor.storeRows(held[layer].keys, k, index);
      executor.storeRows(held[layer].values, v, index);
    },
    release: () => executor.release(...held.flatMap(({ keys, values }) => [keys, values])),
  };
}

/** `CacheSlots.spread`, `gather` and `counts` of lib/ops.ts. */
export function spreadOf(pieces: Pick<Piece, "count">[]): { spread: number[]; gather: number[]; counts: number[] } {
  const spread: number[] = [], gather: number[] = [], counts: number[] = [];
  let first = 0;
  for (const { count } of pieces) {
    for (let i = 0; i < count; i++) {
      gather.push(spread.length);
      spread.push(first + i);
    }
    if (count === 1) spread.push(first);
    counts.push(Math.max(2, count));
    first += count;
  }
  return { spread, gather, counts };
}

/** Memory is the host's: what no token has touched costs nothing. */
function slotCache(executor: Executor, { layers, slots, capacity, kvHeads, headDim }: Room): KvCache {
  const slot = () => executor.tensor(new Float32Array(kvHeads * capacity * headDim), [1, kvHeads, capacity, headDim]);
  const held = Array.from(
    { length: layers },
    () => Array.from({ length: slots }, () => ({ keys: slot(), values: slot() })),
  );
  return {
    ...{ slots, capacity },
    rows: (pieces) => rowsOf(pieces, capacity),
    places(pieces) {
      const list = (values: number[]) => executor.tensor(Int32Array.from(values), [values.length]);
      const { spread, gather, counts } = spreadOf(pieces);
      const places: Record<string, Value> = {
        "cache.spread": list(spread),
        "cache.gather": list(gather),
        "cache.counts": list(counts),
      };
      pieces.forEach(({ start }, i) => {
        places[`cache.last.${i}`] = list([start + counts[i] - 1]);
        places[`cache.end.${i}`] = list([start + counts[i]]);
      });
      return places;
    },
    fixed: () => ({}),
    values: (layer, pieces) =>
      Object.fromEntries(pieces.flatMap(({ slot }, i) => {
        const { keys, values } = held[layer][slot];
        return [[`cache.keys.${i}`, keys], [`cache.values.${i}`, values]];
      })),
    store() {
      throw new Error("this executor's attention stores keys and values itself");
    },
    release: () => executor.release(...held.flat().flatMap(({ keys, values }) => [keys, values])),
  };
}

/** The cache among a segment's inputs; undefined where its tokens see a batch alone. */
export function cachedOf<V extends Value>(inputs: Record<string, V>): Cached<V> | undefined {
  const { "cache.counts": counts, "cache.keys": keys, "cache.values": values } = inputs;
  if (keys) return { table: { keys, values, index: inputs["cache.index"], spans: inputs["cache.spans"] } };
  if (!counts) return undefined;
  const all = (what: string) => Array.from({ length: counts.shape[0] }, (_, i) => inputs[`cache.${what}.${i}`]);
  const { "cache.spread": spread, "cache.gather": gather } = inputs;
  const each = { keys: all("keys"), values: all("values"), last: all("last"), end: all("end") };
  return { slots: { ...each, spread, gather, counts } };
}
