/** Weights larger than a binding, kept in parts of whole rows: whole models give what they give in one part. */
import assert from "node:assert/strict";
import { initMagnitudes, loraScale, makeParameters } from "../../lib/model/adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Row } from "../../lib/model/trainable.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { type LoadOptions, loadWeights } from "../../lib/model/weights.ts";
import { createWebgpuExecutor, type GpuValue, type WebgpuOptions } from "../../lib/webgpu/executor.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";
import { assertClose } from "../helpers/close.ts";
import { checkGoldenTraining } from "../helpers/golden_models.ts";
import { randomFloats } from "../helpers/random.ts";
import { tinyVocabulary } from "../helpers/tiny_folders.ts";
import { storeF32, type TinyModel, withTinyModel } from "../helpers/tiny_model.ts";
import { gpuTest } from "../helpers/webgpu.ts";

/** The feed-forward part of the tiny models, wide enough that its weights hold several blocks of maxima. */
const wide = 512;

function widen({ config, tensors }: TinyModel): void {
  const width = config.hidden_size as number;
  config.intermediate_size = wide;
  for (const [i, name] of [...tensors.keys()].filter((name) => name.includes(".mlp.")).entries()) {
    const shape = name.includes("down_proj") ? [width, wide] : [wide, width];
    tensors.set(name, storeF32(randomFloats(width * wide, i).map((x) => 0.1 * x), shape));
  }
}

const rows: Row[] = [20, 7].map((length, n) => ({
  tokens: Int32Array.from({ length }, (_, t) => 3 + (n * 37 + t * (n + 5)) % (tinyVocabulary - 3)),
  targets: Uint8Array.from({ length }, (_, t) => t > 1 ? 1 : 0),
}));

interface Run extends WebgpuOptions, Pick<LoadOptions, "linear" | "doubleQuant"> {
  dora?: boolean;
}

/** Loss, gradients and evaluated loss of a tiny model, and the number of parts of its weights by name. */
async function lossAndGradients(gpu: Gpu, folder: string, { linear, doubleQuant, dora = false, ...options }: Run) {
  const executor = createWebgpuExecutor(gpu, options);
  const source = openModel(folder), { config } = source;
  const weights = loadWeights(source, executor, { linear, doubleQuant });
  source.close();
  const lora = {
    ...{ r: 8, lora_alpha: 16, lora_dropout: 0, use_rslora: false, use_dora: dora, seed: 1 },
    ...{ target_modules: [...projections], init_lora_weights: true as const },
  };
  const parameters = makeParameters(config, lora);
  for (const [i, { name, value }] of parameters.entries()) {
    // B starts at 0, where the second product could be left out unseen.
    if (name.includes("lora_B")) value.set(randomFloats(value.length, i).map((x) => 0.1 * x));
  }
  await initMagnitudes(parameters, { executor, weights, config, settings: lora });
  const places = parameters.map(({ value, grad, shape }) => {
    return { value: executor.tensor(value, shape), grad: executor.tensor(grad, shape) };
  });
  const shared = { executor, config, weights, parameters, placeOf: (i: number) => places[i], headChunk: 16 };
  const model = makeTrainable({ ...shared, loraScale: loraScale(lora), keepLayers: 1 });
  const losses = await (await model.accumulate(rows, { scale: 64, first: true })).read();
  const evaluated = await model.evaluate(rows);
  const gradients = await executor.readAll(places.map(({ grad }) => grad));
  const parts = Object.fromEntries(
    Object.entries({ ...weights.layers[0], lm_head: weights.lm_head })
      .map(([name, value]) => [name, (value as GpuValue).weight?.rows.length]),
  );
  await executor.dispose();
  return { losses: [...losses, ...evaluated].map(({ loss }) => loss), gradients, parts, parameters };
}

/** What the splitting must have done for the test to test it. */
const partsOfWeights = { q_proj: 1, gate_proj: 4, up_proj: 4, down_proj: 4, lm_head: 4 };

const kinds: [what: string, model: string, run: Run][] = [
  ["NF4 with double quantisation", "llama_tied", { linear: "nf4" }],
  ["NF4, DoRA", "llama_tied", { linear: "nf4", doubleQuant: false, dora: true }],
  ["dense, biases and DoRA", "qwen2", { linear: "f32", dora: true }],
];

for (const [what, model, run] of kinds) {
  gpuTest(`weights in parts give the loss and the gradients of whole ones: ${what}`, async (gpu) => {
    await withTinyModel({ name: model, change: widen }, async (folder) => {
      for (const half of [false, true]) {
        // 128 rows of 128, 32 of 512.
        const maxBinding = half ? 2 ** 15 : 2 ** 16;
        const whole = await lossAndGradients(gpu, folder, { ...run, half });
        const split = await lossAndGradients(gpu, folder, { ...run, half, maxBinding });
        for (const [name, count] of Object.entries(partsOfWeights)) {
          assert.deepEqual([name, split.parts[name], whole.parts[name]], [name, count, 1]);
        }
        // Sums of the same products in another order; in f16 some of them round to the other neighbour.
        const name = half ? "f16" : "f32", rtol = half ? 4e-3 : 2e-5;
        assertClose(split.losses, whole.losses, { rtol, atol: 0, what: `losses, ${name}` });
        for (const [i, { name: parameter }] of split.parameters.entries()) {
          assertClose(split.gradients[i], whole.gradients[i], { rtol, what: `${name}, gradient of ${parameter}` });
          assert.ok(split.gradients[i].some((x) => x !== 0), parameter);
        }
      }
    });
  });
}

gpuTest("weights in parts: PEFT's loss and LoRA gradients, f32", async (gpu) => {
  const executor = createWebgpuExecutor(gpu, { half: false, maxBinding: 2 ** 15 });
  await checkGoldenTraining("qwen2", { executor, rtol: 1e-3, lossRtol: 1e-5 });
  await executor.dispose();
});
