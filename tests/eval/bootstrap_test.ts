/** Means and their intervals. */
import assert from "node:assert/strict";
import { estimateChange, estimateMean, quantile, type Share } from "../../lib/eval/bootstrap.ts";
import { randomFloats } from "../helpers/random.ts";

const ones = (values: number[]): Share[] => values.map((sum) => ({ sum, weight: 1 }));

Deno.test("quantile() is numpy's", () => {
  // numpy.quantile([1, 2, 4, 8], [0, 0.025, 0.5, 0.975, 1])
  const expected = [1, 1.075, 3, 7.7, 8];
  [0, 0.025, 0.5, 0.975, 1].forEach((q, i) => {
    assert.ok(Math.abs(quantile([1, 2, 4, 8], q) - expected[i]) <= 1e-12, `${q}`);
  });
});

Deno.test("estimateMean() weighs rows, and is the same for the same seed", () => {
  const shares = [{ sum: 10, weight: 5 }, { sum: 3, weight: 1 }, { sum: 8, weight: 2 }];
  const found = estimateMean(shares, { seed: 1 })!;
  assert.equal(found.value, 21 / 8);
  assert.equal(found.rows, 3);
  assert.ok(found.low! >= 2 && found.low! < found.value && found.high! > found.value && found.high! <= 4);
  const many = ones([...randomFloats(40, 9)]);
  assert.deepEqual(estimateMean(many, { seed: 1 }), estimateMean(many, { seed: 1 }));
  assert.notDeepEqual(estimateMean(many, { seed: 2 }), estimateMean(many, { seed: 1 }));
});

Deno.test("estimateMean() has no interval for one row and nothing for none", () => {
  assert.deepEqual(estimateMean(ones([0.5]), { seed: 1 }), { value: 0.5, low: null, high: null, rows: 1 });
  assert.equal(estimateMean([], { seed: 1 }), null);
});

Deno.test("rows that agree leave no doubt, whatever was drawn", () => {
  assert.deepEqual(estimateMean(ones([1, 1, 1, 1]), { seed: 3 }), { value: 1, low: 1, high: 1, rows: 4 });
});

Deno.test("estimateChange() compares the same rows", () => {
  // Rows differ wildly, the change does not: drawn together, nothing of the difference between rows is left.
  const before = ones([0, 10, 100, 1000]), after = ones([1, 11, 101, 1001]);
  const found = estimateChange(before, after, { seed: 5 })!;
  for (const value of [found.value, found.low!, found.high!]) assert.ok(Math.abs(value - 1) <= 1e-9, `${value}`);
  assert.throws(() => estimateChange(before, after.slice(1), { seed: 5 }), /4 rows before, 3 after/);
});

Deno.test("95 % intervals hold the true mean about 19 times of 20", () => {
  // 200 samples of 40 uniform numbers. The share covered is binomial around 0.93 to 0.95 (the percentile bootstrap is
  // somewhat narrow): standard deviation 0.018, so that 0.876 to 1 are three of them beyond either side.
  let covered = 0;
  for (let k = 0; k < 200; k++) {
    const { low, high } = estimateMean(ones([...randomFloats(40, k)]), { seed: k })!;
    if (low! <= 0 && high! >= 0) covered++;
  }
  assert.ok(covered / 200 >= 0.876 && covered < 200, `${covered} of 200`);
});
