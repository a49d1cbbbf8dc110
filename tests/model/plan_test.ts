/** The CPU's memory plan and the time of a step: what they decide and sum up at 7 billion parameters. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { memoryPlan, type PlanOptions } from "../../lib/model/plan.ts";
import { modelTensors } from "../../lib/model/names.ts";
import { linearElements, stepSeconds } from "../../lib/model/step_time.ts";
import { nf4WeightBytes } from "../../lib/model/weights.ts";
import { shapes } from "../helpers/random_checkpoint.ts";

const GiB = 2 ** 30;
const config = configFromHf(shapes["llama-2-7b"], { source: "test" }), tensors = modelTensors(config);

const stored = (precision: string, fourBit: "quantise" | "own" | "never" = "quantise") => (
  { tensors, precision: () => precision, fourBit: () => fourBit }
);

function optionsOf(changed: Partial<PlanOptions> & { length?: number } = {}): PlanOptions {
  const { length = 128, ...rest } = changed;
  return {
    config,
    weightBytes: nf4WeightBytes(stored("BF16")),
    trained: 40e6,
    stateBytes: 2,
    rankSum: 7 * 16,
    windowRows: 2,
    passTokens: (rows) => ({ tokens: rows * length, longest: length }),
    budget: 8 * GiB,
    checkpointing: "auto",
    ...rest,
  };
}

Deno.test("nf4WeightBytes() keeps large tables in 16 bits where they are stored so", () => {
  const linear = 32 * (4 * 4096 ** 2 + 3 * 4096 * 11008), table = 2 * 32000 * 4096, norms = 65 * 4096 * 4;
  // 4 bits, a byte in 64, four bytes in 64 * 256, and four for each tensor.
  const nf4 = linear / 2 + linear / 64 + linear / 64 / 64 + 7 * 32 * 4;
  assert.equal(linearElements(config), linear);
  assert.equal(nf4WeightBytes(stored("BF16")), nf4 + 2 * table + norms);
  assert.equal(nf4WeightBytes(stored("Q4_K")), nf4 + 2 * table + norms);
  assert.equal(nf4WeightBytes(stored("F32")), nf4 + 4 * table + norms);
  assert.equal(nf4WeightBytes(stored("BF16", "own")), nf4 + 2 * table + norms);
  // What a 4-bit checkpoint leaves in 16 bits is not quantised.
  assert.equal(nf4WeightBytes(stored("BF16", "never")), 4 * linear + 2 * table + norms);
});

Deno.test("memoryPlan() trains a 7B on 2 rows of 128 tokens in 8 GiB, in one pass, with every layer kept", () => {
  const { rowsPerPass, keepLayers, bytes, parts } = memoryPlan(optionsOf());
  assert.deepEqual([rowsPerPass, keepLayers], [2, 32]);
  assert.ok(bytes < 8 * GiB);
  assert.equal(bytes, Object.values(parts).reduce((a, b) => a + b));
  // gate and up of 256 tokens in 32 layers alone.
  assert.ok(parts.activations > 32 * 256 * 2 * 11008 * 4);
});

Deno.test("memoryPlan() keeps fewer layers, then takes fewer rows, then refuses with what is needed", () => {
  const of = (budget: number, more = {}) => memoryPlan(optionsOf({ budget: budget * GiB, ...more }));
  const { bytes: all } = of(8);
  const fewer = of(0.95 * all / GiB);
  assert.ok(fewer.keepLayers > 0 && fewer.keepLayers < 32 && fewer.bytes <= 0.95 * all);
  assert.throws(() => of(4), (error) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, /^Cannot train .* in 4\.00 GiB: one row of 128 tokens at a time needs \d\.\d\d GiB$/);
    assert.match(error.hint!, /max_length.*max_memory/);
    return true;
  });
  assert.throws(() => of(0.95 * all / GiB, { checkpointing: false, windowRows: 1, length: 256 }), /gradient|needs/);
});

Deno.test("stepSeconds() adds up what a step computes", () => {
  const speed = { products: 1e11, attention: 5e10, decode: 2e-10, other: 0, optimizer: 0, pass: 0 };
  const step = { tokens: 256, targets: 254, squares: 2 * 128 ** 2, passes: 1 };
  const seconds = (keepLayers: number, more = {}) =>
    stepSeconds({ config, trained: 40e6, plan: { keepLayers }, step, speed: { ...speed, ...more } });
  const linear = 6_476_005_376, head = 32000 * 4096, attention = 4 * 32768 * 32 * 4096;
  const kept = (4 * linear * 256 + 4 * head * 254) / 1e11 + 3.5 * attention / 5e10 + 2 * linear * 2e-10;
  assert.ok(Math.abs(seconds(32) / kept - 1) < 1e-12);
  const again = 2 * linear * 256 / 1e11 + attention / 5e10;
  assert.ok(Math.abs((seconds(0) - seconds(32)) / again - 1) < 1e-9);
  assert.ok(Math.abs(seconds(32, { optimizer: 1e-8, pass: 1 }) - kept - 1.4) < 1e-9);
});
