/** What an executor does with values between segments, in order with them: one test body for every executor. */
import assert from "node:assert/strict";
import { projections } from "../../lib/model/names.ts";
import { makeParameters } from "../../lib/model/adapter.ts";
import { openModel } from "../../lib/model/source.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import type { Executor, Segment } from "../../lib/ops.ts";
import { goldenFolder } from "./golden_models.ts";
import { randomFloats } from "./random.ts";

const doubled: Segment = { key: "doubled", build: (ops, { x }) => ({ y: ops.scale(x, 2) }) };

/** Sums, overwriting, rows stored in tables of two and three axes, several values read at once. */
export async function checkExecutorMemory(executor: Executor): Promise<void> {
  const x = executor.tensor(Float32Array.of(1, 2, 3, 4, 5), [5]), sum = executor.tensor(new Float32Array(5), [5]);
  for (let pass = 1; pass <= 3; pass++) {
    executor.write(x, Float32Array.from({ length: 5 }, (_, i) => 10 ** pass + i));
    const { y } = await executor.run(doubled, { x });
    executor.accumulate(sum, y);
    executor.release(y);
  }
  const index = executor.tensor(Int32Array.of(5, 0, 3), [3]), rows = executor.tensor(randomFloats(9, 1), [3, 3]);
  const { y } = await executor.run(doubled, { x: rows });
  const tables = [[6, 3], [2, 3, 3]].map((shape) => executor.tensor(new Float32Array(18).fill(7), shape));
  for (const table of tables) executor.storeRows(table, y, index);
  executor.write(x, Float32Array.of(1, 2, 3, 4, 5));

  const [added, last, ...stored] = (await executor.readAll([sum, x, ...tables])).map((data) => [...data]);
  assert.deepEqual(added, [2220, 2226, 2232, 2238, 2244]);
  assert.deepEqual(last, [1, 2, 3, 4, 5]);
  const expected = new Array(18).fill(7);
  [5, 0, 3].forEach((row, n) => {
    randomFloats(9, 1).subarray(3 * n, 3 * n + 3).forEach((value, i) => expected[3 * row + i] = 2 * value);
  });
  assert.deepEqual(stored, [expected, expected]);
  assert.deepEqual(await executor.readAll([]), []);
  executor.release(x, sum, index, rows, y, ...tables);
}

/** A window's first pass may have no target: its gradients are 0, and the next pass adds to them. */
export async function checkPassWithoutTargets(executor: Executor): Promise<void> {
  const source = openModel(`${goldenFolder}llama_tied`), { config } = source;
  const weights = loadWeights(source, executor, { linear: "f32" });
  source.close();
  const parameters = makeParameters(config, {
    ...{ r: 4, lora_alpha: 4, lora_dropout: 0, use_rslora: false, use_dora: false, seed: 1 },
    ...{ target_modules: [...projections], init_lora_weights: true as const },
  });
  const places = parameters.map(({ value, shape }) => ({
    value: executor.tensor(value, shape),
    grad: executor.tensor(new Float32Array(value.length).fill(NaN), shape),
  }));
  const placeOf = (i: number) => places[i];
  const model = makeTrainable({ executor, config, weights, parameters, placeOf, loraScale: 1, keepLayers: 1 });
  const tokens = Int32Array.of(5, 9, 3, 400, 17);
  const masked = { tokens, targets: new Uint8Array(5) }, row = { tokens, targets: Uint8Array.of(0, 1, 1, 1, 1) };
  const gradients = async () => (await executor.readAll(places.map(({ grad }) => grad))).map((grad) => grad.slice());

  const nothing = await model.accumulate([masked], { scale: 1, first: true });
  assert.deepEqual(await nothing.read(), [{ loss: 0, targets: 0 }]);
  assert.ok((await gradients()).every((grad) => grad.every((x) => x === 0)));
  const second = await model.accumulate([row], { scale: 1, first: false });
  const [loss] = await second.read(), added = await gradients();
  const alone = await model.accumulate([row], { scale: 1, first: true });
  assert.deepEqual(await alone.read(), [loss]);
  assert.deepEqual(added.map((grad) => [...grad]), (await gradients()).map((grad) => [...grad]));
  assert.ok(added.some((grad) => grad.some((x) => x !== 0)));
}
