// Merging against the formula written out in f64, and what is refused.
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { addLowRank, type ExportAdapter, lowRanks, mergedModel } from "../../lib/export/merge.ts";
import { openModel } from "../../lib/model/source.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenFolder } from "../helpers/golden_models.ts";
import { randomFloats } from "../helpers/random.ts";
import { goldenAdapter } from "../helpers/tiny_folders.ts";

/** W + scale*B*A in f64, with DoRA's rows scaled to `magnitude`. */
function merged(weight: Float32Array, options: Parameters<typeof addLowRank>[1]): Float64Array {
  const { a, b, r, scale, magnitude } = options, outputs = b.length / r, inputs = a.length / r;
  const y = Float64Array.from(weight);
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let k = 0; k < r; k++) sum += b[o * r + k] * a[k * inputs + i];
      y[o * inputs + i] += scale * sum;
    }
    if (!magnitude) continue;
    const row = y.subarray(o * inputs, (o + 1) * inputs), norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    for (let i = 0; i < inputs; i++) row[i] *= magnitude[o] / norm;
  }
  return y;
}

for (const [outputs, inputs, r] of [[1, 1, 1], [31, 33, 3], [33, 31, 4], [7, 257, 5], [257, 64, 16]]) {
  Deno.test(`addLowRank() adds scale*B*A, [${outputs}, ${inputs}] with rank ${r}, with and without DoRA`, () => {
    const a = randomFloats(r * inputs, 1), b = randomFloats(outputs * r, 2), weight = randomFloats(outputs * inputs, 3);
    for (const magnitude of [undefined, randomFloats(outputs, 4)]) {
      const change = { a, b, r, scale: 1.75, magnitude }, found = weight.slice();
      addLowRank(found, change);
      // One rounding to f32 at the end.
      assertClose(found, merged(weight, change), { rtol: 2 ** -24, atol: 1e-12 });
    }
  });
}

Deno.test("addLowRank() leaves a row of zeros at zero with DoRA", () => {
  const weight = new Float32Array(4);
  addLowRank(weight, { a: new Float32Array(2), b: new Float32Array(2), r: 1, scale: 1, magnitude: randomFloats(2) });
  assert.deepEqual([...weight], [0, 0, 0, 0]);
});

Deno.test("mergedModel() scales by alpha/r, and by alpha/sqrt(r) with rsLoRA, and leaves other tensors alone", () => {
  const source = openModel(`${goldenFolder}qwen2`), adapter = goldenAdapter("qwen2");
  const name = "model.layers.1.mlp.down_proj.weight", base = source.float32(name);
  const factor = (use_rslora: boolean) => {
    const settings = { ...adapter.settings, use_rslora };
    const found = mergedModel(source, { ...adapter, settings }).float32(name);
    const { a, b, r } = lowRanks(source, adapter).get(name)!;
    assertClose(found, merged(base, { a, b, r, scale: use_rslora ? 8 / 2 : 8 / 4 }), { rtol: 2 ** -23, atol: 1e-12 });
  };
  factor(false);
  factor(true);
  for (const other of ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.bias", "model.norm.weight"]) {
    assert.deepEqual(mergedModel(source, adapter).float32(other), source.float32(other));
  }
  assert.deepEqual(mergedModel(source, null).float32(name), base);
  source.close();
});

const damage: [string, RegExp, (parameters: ExportAdapter["parameters"][number][]) => void][] = [
  ["a layer the model does not have", /layers\.9\..*changes nothing in/, (list) => {
    list[0].name = list[0].name.replace("layers.0", "layers.9");
  }],
  ["a tensor that is not LoRA's", /"lm_head.weight" changes nothing/, (list) => {
    list.push({ name: "lm_head.weight", shape: [1], value: new Float32Array(1) });
  }],
  ["A of another width", /lora_A has shape \[4, 7\], the model needs \[4, 128\]/, (list) => {
    list[0] = { ...list[0], shape: [4, 7] };
  }],
  ["A without B", /no lora_B for "model\.layers\.0\./, (list) => {
    list.splice(1, 1);
  }],
  ["NaN", /holds NaN at element 5 of 512/, (list) => {
    list[0] = { ...list[0], value: list[0].value.with(5, NaN) };
  }],
];
for (const [what, message, spoil] of damage) {
  Deno.test(`lowRanks() refuses an adapter with ${what}`, () => {
    const source = openModel(`${goldenFolder}llama3`), adapter = goldenAdapter("llama3");
    const parameters = adapter.parameters.map((parameter) => ({ ...parameter }))
      .filter(({ name }) => /layers\.0\.self_attn\.q_proj/.test(name)).sort((a, b) => a.name < b.name ? -1 : 1);
    spoil(parameters);
    assert.throws(
      () => lowRanks(source, { ...adapter, parameters }),
      (error) => error instanceof UserError && message.test(error.message) && error.hint !== undefined,
    );
    source.close();
  });
}
