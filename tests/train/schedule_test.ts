/** Schedules against Hugging Face's numbers. */
import assert from "node:assert/strict";
import { learningRateAt, type Schedule, warmupStepsOf } from "../../lib/train/schedule.ts";

const lrs = (schedule: Schedule) => Array.from({ length: schedule.totalSteps }, (_, k) => learningRateAt(k, schedule));

Deno.test("learningRateAt() linear gives the golden run's rates bit for bit", () => {
  const golden = JSON.parse(
    Deno.readTextFileSync(new URL("../golden/smollm2_16rows_adamw.json", import.meta.url)),
  ) as { lr: number[] };
  const schedule: Schedule = { type: "linear", learningRate: 2e-3, warmupSteps: 5, totalSteps: 30 };
  assert.deepEqual(lrs(schedule), golden.lr);
});

// Printed by Python from transformers' formulas: get_scheduler(name, optimizer, 2, 7), lr 1e-3.
const expected: [Schedule["type"], number, number[]][] = [
  ["constant", 2, [0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001]],
  ["constant_with_warmup", 2, [0.0, 0.0005, 0.001, 0.001, 0.001, 0.001, 0.001]],
  ["linear", 2, [0.0, 0.0005, 0.001, 0.0008, 0.0006, 0.0004, 0.0002]],
  ["linear", 0, [
    0.001,
    0.0008571428571428571,
    0.0007142857142857143,
    0.0005714285714285714,
    0.00042857142857142855,
    0.0002857142857142857,
    0.00014285714285714284,
  ]],
  ["cosine", 2, [
    0.0,
    0.0005,
    0.001,
    0.0009045084971874737,
    0.0006545084971874737,
    0.00034549150281252633,
    9.549150281252633e-05,
  ]],
  ["cosine", 0, [
    0.001,
    0.0009504844339512095,
    0.0008117449009293668,
    0.0006112604669781572,
    0.00038873953302184284,
    0.00018825509907063325,
    4.9515566048790485e-05,
  ]],
];

Deno.test("learningRateAt() gives get_scheduler's rates for every schedule", () => {
  for (const [type, warmupSteps, rates] of expected) {
    assert.deepEqual(lrs({ type, learningRate: 1e-3, warmupSteps, totalSteps: 7 }), rates, type);
  }
});

Deno.test("learningRateAt() stays at 0 past the end of a linear run and survives a warm-up as long as the run", () => {
  const linear: Schedule = { type: "linear", learningRate: 1, warmupSteps: 0, totalSteps: 4 };
  assert.deepEqual([3, 4, 5].map((k) => learningRateAt(k, linear)), [0.25, 0, 0]);
  const allWarmup: Schedule = { type: "cosine", learningRate: 1, warmupSteps: 4, totalSteps: 4 };
  assert.deepEqual(lrs(allWarmup), [0, 0.25, 0.5, 0.75]);
});

Deno.test("warmupStepsOf() prefers steps and rounds a ratio up", () => {
  assert.equal(warmupStepsOf(30, { warmupSteps: 5, warmupRatio: 0.5 }), 5);
  assert.equal(warmupStepsOf(30, { warmupRatio: 0.05 }), 2);
  assert.equal(warmupStepsOf(30, { warmupSteps: 0, warmupRatio: 0.1 }), 3);
  assert.equal(warmupStepsOf(30, {}), 0);
});
