/**
 * The tiny models of tests/golden/tiny, with random weights, and what PyTorch and PEFT say of them: one test body for
 * every executor. Each folder's expected.safetensors holds input_ids [2,24] (the second row 7 tokens shorter), labels,
 * logits without LoRA, and with the given LoRA (r 4, alpha 8, all projections) the loss and every gradient.
 */
import assert from "node:assert/strict";
import { openFile } from "../../lib/files/file_source.ts";
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import { attachAdapter } from "../../lib/model/adapter.ts";
import { batchValues, makeBatch } from "../../lib/model/batch.ts";
import { embedSegment, layerInferenceSegment, logitsSegment } from "../../lib/model/forward.ts";
import { loadAdapter } from "../../lib/model/load_adapter.ts";
import { openModel } from "../../lib/model/source.ts";
import type { Parameter, Row } from "../../lib/model/trainable.ts";
import { makeTrainable } from "../../lib/model/trainable_model.ts";
import { type LoadOptions, loadWeights } from "../../lib/model/weights.ts";
import type { Executor } from "../../lib/ops.ts";
import { toFloat32 } from "../../lib/quant/decode.ts";
import { assertClose } from "./close.ts";

export const goldenModels = ["llama3", "llama_tied", "mistral", "qwen2", "qwen3", "gemma3"];
export const goldenFolder = new URL("../golden/tiny/", import.meta.url).pathname;

/** A file's f32 or i64 tensors by name, as numbers. */
export function readExpected(
  name: string,
  parent = goldenFolder,
): Map<string, { data: Float32Array; shape: number[] }> {
  const source = openFile(`${parent}${name}/expected.safetensors`);
  const file = openSafetensors(source);
  const tensors = Array.from(file.tensors.values(), ({ name, dtype, shape, byteLength }) => {
    const bytes = file.bytes(name).slice();
    const data = dtype === "I64"
      ? Float32Array.from(new BigInt64Array(bytes.buffer), Number)
      : toFloat32(bytes, { dtype, count: byteLength / 4 });
    return [name, { data, shape }] as const;
  });
  source.close();
  return new Map(tensors);
}

/** The two rows of a golden batch, padding removed. */
function goldenRows(expected: ReturnType<typeof readExpected>): Row[] {
  const { data: mask, shape: [B, L] } = expected.get("attention_mask")!;
  return Array.from({ length: B }, (_, b) => {
    const length = mask.subarray(b * L, (b + 1) * L).reduce((a, x) => a + x, 0);
    const part = (name: string) => expected.get(name)?.data.subarray(b * L, b * L + length);
    return {
      tokens: Int32Array.from(part("input_ids")!),
      targets: Uint8Array.from(part("labels") ?? [], (label, l) => l > 0 && label >= 0 ? 1 : 0),
    };
  });
}

/** Logits of every token of the rows, [tokens, V], by the model in `folder` alone or with the adapter of another folder. */
export async function logitsOf(
  folder: string,
  rows: Row[],
  { executor, linear = "f32", adapter }: { executor: Executor; linear?: LoadOptions["linear"]; adapter?: string },
): Promise<Float32Array> {
  const source = openModel(folder), { config } = source;
  const weights = loadWeights(source, executor, { linear });
  source.close();
  const loaded = adapter === undefined ? undefined : loadAdapter(adapter, config);
  const lora = loaded &&
    await attachAdapter(loaded.parameters, { executor, weights, config, settings: loaded.settings });
  const batch = makeBatch(rows), values = batchValues(executor, batch, config);
  const T = batch.tokens.length;
  const tokens = executor.tensor(batch.tokens, [T]);
  let { x } = await executor.run(embedSegment(config), { embed_tokens: weights.embed_tokens, tokens });
  for (const [l, layer] of weights.layers.entries()) {
    const rowsAndRope = config.layerTypes[l] === "sliding" ? values.sliding : values.full;
    const segment = layerInferenceSegment({ config, loraScale: lora?.scale ?? 0 });
    x = (await executor.run(segment, { ...layer, ...lora?.layers[l], ...rowsAndRope, x })).y;
  }
  const index = executor.tensor(Int32Array.from({ length: T }, (_, t) => t), [T]);
  const { norm, lm_head } = weights;
  const { logits } = await executor.run(logitsSegment(config), { x, index, norm, lm_head });
  return await executor.read(logits);
}

/**
 * Logits of every real token against PyTorch's: within `rtol` of the largest, and of each. `folder` holds the model where
 * it is not the golden one. Returns what was found.
 */
export async function checkGoldenLogits(
  name: string,
  options: { executor: Executor; rtol: number; linear?: LoadOptions["linear"]; folder?: string },
): Promise<Float32Array> {
  const expected = readExpected(name), rows = goldenRows(expected);
  const found = await logitsOf(options.folder ?? goldenFolder + name, rows, options);
  const { data, shape: [, L, V] } = expected.get("logits")!;
  let start = 0;
  for (const [b, row] of rows.entries()) {
    const count = row.tokens.length * V;
    assertClose(found.subarray(start * V, start * V + count), data.subarray(b * L * V, b * L * V + count), {
      rtol: options.rtol,
      what: `${name}: logits of row ${b}`,
    });
    start += row.tokens.length;
  }
  return found;
}

/** Loss and LoRA gradients against PEFT's, however the batch is split and whichever layers keep their values. */
export async function checkGoldenTraining(
  name: string,
  options: {
    executor: Executor;
    rtol: number;
    lossRtol: number;
    keepLayers?: number;
    split?: boolean;
    lossScale?: number;
  },
): Promise<void> {
  const { executor, rtol, lossRtol } = options;
  const expected = readExpected(name), rows = goldenRows(expected);
  const source = openModel(goldenFolder + name), { config } = source;
  const weights = loadWeights(source, executor, { linear: "f32" });
  source.close();
  const parameters = [...expected].filter(([key]) => key.startsWith("lora/")).map(
    ([key, { data, shape }]): Parameter => {
      const module = key.slice("lora/".length, -2), part = key.endsWith(".A") ? "lora_A" : "lora_B";
      return {
        name: `base_model.model.model.${module}.${part}.weight`,
        shape: shape as [number, number],
        value: data.slice(),
        grad: new Float32Array(data.length).fill(NaN),
      };
    },
  );
  assert.equal(parameters.length, config.layers * 14);
  // With f16 operands small gradients need a scale, as the learner gives them one.
  const { keepLayers = 0, lossScale = 1 } = options;
  const places = parameters.map(({ value, grad, shape }) => {
    return { value: executor.tensor(value, shape), grad: executor.tensor(grad, shape) };
  });
  const placeOf = (i: number) => places[i];
  const trainable = makeTrainable({ executor, config, weights, parameters, placeOf, loraScale: 8 / 4, keepLayers });
  const targets = rows.reduce((sum, row) => sum + row.targets.reduce((a, b) => a + b, 0), 0);
  const passes = options.split ? rows.map((row) => [row]) : [rows];
  let loss = 0;
  for (const [i, pass] of passes.entries()) {
    const losses = await trainable.accumulate(pass, { scale: lossScale / targets, first: i === 0 });
    for (const row of await losses.read()) loss += row.loss / targets;
  }
  assertClose([loss], expected.get("loss")!.data, { rtol: lossRtol, what: `${name}: loss` });
  const evaluated = await trainable.evaluate(rows);
  const mean = evaluated.reduce((sum, row) => sum + row.loss, 0) / targets;
  assertClose([mean], expected.get("loss")!.data, { rtol: lossRtol, what: `${name}: evaluated loss` });
  const gradients = await executor.readAll(places.map(({ grad }) => grad));
  for (const [i, { name: parameter }] of parameters.entries()) {
    const grad = gradients[i].map((x) => x / lossScale);
    const key = parameter.replace("base_model.model.model.", "grad/").replace(/\.lora_([AB])\.weight$/, ".$1");
    assertClose(grad, expected.get(key)!.data, { rtol, what: `${name}: gradient of ${parameter}` });
  }
}
