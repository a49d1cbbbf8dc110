import assert from "node:assert/strict";
import { rowOrder, splitHeldOut } from "../../lib/data/order.ts";
import { UserError } from "../../lib/errors.ts";

const positions = (count: number) => Array.from({ length: count }, (_, i) => i);

Deno.test("rowOrder without shuffle is file order again and again", () => {
  assert.deepEqual(positions(7).map(rowOrder({ rows: 3, seed: 1, shuffle: false })), [0, 1, 2, 0, 1, 2, 0]);
});

for (const rows of [1, 2, 31, 257]) {
  Deno.test(`rowOrder with shuffle holds each of ${rows} rows once an epoch`, () => {
    const at = rowOrder({ rows, seed: 3407, shuffle: true });
    for (let epoch = 0; epoch < 3; epoch++) {
      const seen = positions(rows).map((i) => at(epoch * rows + i));
      assert.deepEqual([...seen].sort((a, b) => a - b), positions(rows));
    }
  });
}

Deno.test("rowOrder is a function of position alone, so a resumed run sees the same rows", () => {
  const options = { rows: 33, seed: 3407, shuffle: true };
  const whole = positions(200).map(rowOrder(options));
  const resumed = rowOrder(options);
  for (const position of [150, 0, 199, 33, 32, 66, 34]) assert.equal(resumed(position), whole[position]);
});

Deno.test("rowOrder differs between epochs and between seeds, small and large", () => {
  const order = (seed: number, epoch: number) => {
    const at = rowOrder({ rows: 31, seed, shuffle: true });
    return positions(31).map((i) => at(epoch * 31 + i)).join();
  };
  const orders = [order(0, 0), order(0, 1), order(1, 0), order(2 ** 32, 0), order(2 ** 32 + 1, 0), order(3407, 0)];
  assert.equal(new Set(orders).size, orders.length);
});

Deno.test("rowOrder's first epoch under seed 3407 stays what it was, since checkpoints rely on it", () => {
  assert.deepEqual(positions(16).map(rowOrder({ rows: 16, seed: 3407, shuffle: true })), [
    9,
    0,
    7,
    10,
    3,
    8,
    12,
    11,
    15,
    6,
    14,
    13,
    4,
    5,
    1,
    2,
  ]);
});

Deno.test("rowOrder puts every row at the first place about equally often", () => {
  const counts = new Array(5).fill(0);
  for (let seed = 0; seed < 5000; seed++) counts[rowOrder({ rows: 5, seed, shuffle: true })(0)]++;
  // Binomial(5000, 1/5): standard deviation 28.3; 5 deviations.
  for (const count of counts) assert(Math.abs(count - 1000) <= 142, counts.join());
});

Deno.test("splitHeldOut keeps every row on one side and the file's order on both", () => {
  const rows = positions(257);
  const { train, heldOut } = splitHeldOut({ rows: rows.length, fraction: 0.1, seed: 7 });
  assert.equal(heldOut.length, 26);
  assert.deepEqual([...train, ...heldOut].sort((a, b) => a - b), rows);
  for (const side of [train, heldOut]) assert.deepEqual(side, [...side].sort((a, b) => a - b));
  assert.deepEqual(splitHeldOut({ rows: rows.length, fraction: 0.1, seed: 7 }), { train, heldOut });
  assert.notDeepEqual(splitHeldOut({ rows: rows.length, fraction: 0.1, seed: 8 }).heldOut, heldOut);
});

Deno.test("splitHeldOut takes a count, and at least one row of a fraction", () => {
  assert.equal(splitHeldOut({ rows: 16, count: 4, seed: 1 }).heldOut.length, 4);
  assert.equal(splitHeldOut({ rows: 3, fraction: 0.01, seed: 1 }).heldOut.length, 1);
});

for (
  const options of [{ count: 0 }, { count: 16 }, { count: 1.5 }, { count: NaN }, { fraction: 1 }, { fraction: NaN }]
) {
  Deno.test(`splitHeldOut refuses ${JSON.stringify(options)} of 16 rows`, () => {
    assert.throws(() => splitHeldOut({ rows: 16, ...options, seed: 1 }), UserError);
  });
}

Deno.test("splitHeldOut keeps near duplicates on one side", () => {
  // Rows 3k, 3k + 1 and 3k + 2 say the same.
  const similar = new Map(positions(300).filter((row) => row % 3 > 0).map((row) => [row, row - 1]));
  const { train, heldOut } = splitHeldOut({ rows: 300, fraction: 0.1, seed: 1, similar });
  assert.equal(heldOut.length, 30);
  const groups = new Set(heldOut.map((row) => Math.floor(row / 3)));
  assert.equal(groups.size, 10);
  assert(train.every((row) => !groups.has(Math.floor(row / 3))));
});

Deno.test("splitHeldOut holds rows out all the same where all are near duplicates", () => {
  const similar = new Map(positions(20).slice(1).map((row) => [row, 0]));
  assert.equal(splitHeldOut({ rows: 20, count: 4, seed: 1, similar }).heldOut.length, 4);
});
