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
 * Which rows are held out for evaluation, at random but repeatably: `fraction` of the rows (rounded, at least 1) or
 * `count` of them. Rows that say nearly the same (`similar`: row -> an earlier row) stay on one side, so that nothing
 * evaluated was nearly learnt; a group that is larger than what is still to be held out is learnt.
 * Errors: UserError when fewer than one row would be left for either side.
 */
export function splitHeldOut(options: {
  rows: number;
  fraction?: number;
  count?: number;
  seed: number;
  similar?: ReadonlyMap<number, number>;
}): { train: number[]; heldOut: number[] } {
  const { rows, fraction, seed, similar = new Map() } = options;
  const count = options.count ?? Math.max(1, Math.round(rows * (fraction ?? 0)));
  if (!(Number.isInteger(count) && count >= 1 && count < rows)) {
    throw new UserError(`cannot hold out ${options.count ?? fraction} of ${rows} rows`, {
      hint: `Hold out between 1 and ${Math.max(1, rows - 1)} rows, or a fraction between 0 and 1.`,
      exitCode: 2,
    });
  }
  const groups = groupsOf(rows, similar);
  const chosen = new Set<number>();
  const order = permutation(rows, mix(seed, heldOutStream));
  for (const row of order) {
    if (chosen.size === count) break;
    const group = groups.get(row) ?? [row];
    if (!chosen.has(row) && chosen.size + group.length <= count) group.forEach((member) => chosen.add(member));
  }
  // Where every group is too large, rows are held out all the same.
  if (chosen.size === 0) order.subarray(0, count).forEach((row) => chosen.add(row));
  const indices = Array.from({ length: rows }, (_, i) => i);
  return { train: indices.filter((i) => !chosen.has(i)), heldOut: indices.filter((i) => chosen.has(i)) };
}

/** Row -> all rows of its group, for rows that are not alone. */
function groupsOf(rows: number, similar: ReadonlyMap<number, number>): Map<number, number[]> {
  const first = new Uint32Array(rows);
  const groups = new Map<number, number[]>();
  for (let row = 0; row < rows; row++) {
    const earlier = similar.get(row);
    first[row] = earlier === undefined ? row : first[earlier];
    if (earlier === undefined) continue;
    const group = groups.get(first[row]) ?? [first[row]];
    group.push(row);
    groups.set(first[row], group).set(row, group);
  }
  return groups;
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
