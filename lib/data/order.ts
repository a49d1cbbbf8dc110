/**
 * Which row comes at which position of the training run, and which rows are held out.
 *
 * Both are pure functions of a seed, so a run resumed at position p sees exactly the rows it would have seen. Positions
 * count rows from 0 over all epochs; an epoch holds every row once. The generator is splitmix32, written out here because
 * the language's own cannot be seeded.
 */
import { UserError } from "../errors.ts";

/**
 * Position -> index of the row, for `rows` rows. Without `shuffle`, file order again and again; with it, a new
 * Fisher-Yates permutation each epoch, drawn from `seed` and the epoch's number.
 */
export function rowOrder(options: { rows: number; seed: number; shuffle: boolean }): (position: number) => number {
  const { rows, seed, shuffle } = options;
  if (!(Number.isInteger(rows) && rows > 0)) throw new UserError(`the order of ${rows} rows was asked for`);
  if (!shuffle) return (position) => position % rows;
  let epoch = -1;
  let order: Uint32Array;
  return (position) => {
    const wanted = Math.floor(position / rows);
    if (wanted !== epoch) [epoch, order] = [wanted, permutation(rows, mix(seed, wanted))];
    return order[position % rows];
  };
}

/**
 * Splits rows into training and evaluation at random but repeatably; both keep the file's order. `fraction` of the rows
 * (rounded, at least 1) or `count` of them are held out.
 * Errors: UserError when fewer than one row would be left for either side.
 */
export function splitHeldOut<T>(
  rows: T[],
  options: { fraction?: number; count?: number; seed: number },
): { train: T[]; heldOut: T[] } {
  const { fraction, seed } = options;
  const count = options.count ?? Math.max(1, Math.round(rows.length * (fraction ?? 0)));
  if (!(Number.isInteger(count) && count >= 1 && count < rows.length)) {
    throw new UserError(`cannot hold out ${options.count ?? fraction} of ${rows.length} rows`, {
      hint: `Hold out between 1 and ${Math.max(1, rows.length - 1)} rows, or a fraction between 0 and 1.`,
      exitCode: 2,
    });
  }
  const chosen = new Set(permutation(rows.length, mix(seed, heldOutStream)).subarray(0, count));
  return {
    train: rows.filter((_, i) => !chosen.has(i)),
    heldOut: rows.filter((_, i) => chosen.has(i)),
  };
}

/** Keeps the split apart from every epoch's order under the same seed. */
const heldOutStream = 0xffffffff;

/** Fisher-Yates from the last place down; 0..n-1 in a new order. */
function permutation(n: number, seed: number): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  const next = splitmix32(seed);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor((next() / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Uniform integers below 2^32. Constants: MurmurHash3's finaliser over a Weyl sequence of the golden ratio. */
function splitmix32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
}

/** One seed from a seed of up to 53 bits and a stream number. */
function mix(seed: number, stream: number): number {
  const low = splitmix32(seed >>> 0)();
  const high = splitmix32(low ^ Math.floor(seed / 2 ** 32))();
  return splitmix32(high ^ stream)();
}
