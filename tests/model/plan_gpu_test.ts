/** The GPU's memory plan: its list of buffers by hand on a small shape, and what it decides at 8 billion parameters. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import type { ModelConfig } from "../../lib/model/config.ts";
import { bufferBytes, type GpuBuffer, gpuBuffers, modelBuffers, peakBytes } from "../../lib/model/gpu_buffers.ts";
import { projections } from "../../lib/model/names.ts";
import { gpuMemoryPlan, type GpuPlanOptions } from "../../lib/model/plan_gpu.ts";
import { openModel } from "../../lib/model/source.ts";
import { unquantisedWeights } from "../../lib/model/weights.ts";
import { skipFeedForward } from "../helpers/bnb4_models.ts";
import { withTinyModel } from "../helpers/tiny_model.ts";

const GiB = 2 ** 30;

function configOf(shape: Partial<ModelConfig>): ModelConfig {
  const { layers = 2 } = shape;
  return {
    architecture: "llama",
    name: "a model",
    vocabSize: 100,
    hiddenSize: 64,
    intermediateSize: 128,
    layers,
    heads: 2,
    kvHeads: 1,
    headDim: 32,
    maxPositions: 8192,
    rmsEps: 1e-5,
    activation: "silu",
    tied: true,
    qkvBias: false,
    qkNorm: false,
    postNorms: false,
    normPlusOne: false,
    embeddingScale: 1,
    attentionScale: 1,
    rope: { theta: 1e4, scaling: { type: "none" } },
    ropeLocal: { theta: 1e4, scaling: { type: "none" } },
    slidingWindow: 512,
    layerTypes: Array(layers).fill("full"),
    bosTokenId: null,
    eosTokenIds: [],
    ...shape,
  };
}

const llama8b = configOf({
  ...{ name: "Llama 3.1 8B", vocabSize: 128256, hiddenSize: 4096, intermediateSize: 14336, layers: 32 },
  ...{ heads: 32, kvHeads: 8, headDim: 128, tied: false },
});

function optionsOf(changed: Partial<GpuPlanOptions> & { length?: number } = {}): GpuPlanOptions {
  const { length = 2048, ...rest } = changed;
  return {
    config: llama8b,
    lora: { r: 16, use_dora: false, lora_dropout: 0, target_modules: [...projections] },
    stateBytes: 2,
    unquantised: new Set(),
    windowRows: 2,
    passTokens: (rows) => ({ tokens: rows * length, longest: length }),
    budget: 70 * GiB,
    checkpointing: "auto",
    f16: true,
    maxBinding: 2 * GiB - 4,
    ...rest,
  };
}

/** Bytes of all buffers whose name matches. */
function sum(buffers: GpuBuffer[], name: RegExp): number {
  return buffers.filter((buffer) => name.test(buffer.name))
    .reduce((total, buffer) => total + bufferBytes(buffer) * buffer.count, 0);
}

Deno.test("gpuBuffers() of a small model sums up to what is worked out by hand", () => {
  const lora = { r: 2, use_dora: false, lora_dropout: 0, target_modules: ["q_proj" as const] };
  const run = { config: configOf({}), lora, stateBytes: 8, unquantised: new Set<string>(), f16: true, maxBinding: GiB };
  const parts = peakBytes(gpuBuffers({ ...run, tokens: 10, keepLayers: 1, headChunk: 16 }));
  // q and o 64 x 64, k and v 32 x 64, gate, up and down 128 x 64: codes, a byte in 64, a float in 64 * 256 begun
  // behind the map of 256.
  const layer = (4096 * 2 + 2048 * 2 + 8192 * 3) * (1 / 2 + 1 / 64) + 7 * 257 * 4;
  assert.equal(parts.weights, 100 * 64 * 2 + 2 * layer + 5 * 64 * 4);
  // A 2 x 64 and B 64 x 2: value, gradient and two states in f32, and a copy in f16.
  assert.equal(parts.adapter, 2 * 2 * 128 * (4 * 4 + 2));
  // q, k, v, y, gate and up in f16, lse and mid in f32; t of both layers in f16.
  const kept = 10 * (2 * (64 + 32 + 32 + 64 + 128 + 128) + 4 * (2 + 64)), t = 2 * 10 * 2 * 2;
  const batch = 2 * 10 * 16 * 4 + 10 * 2 * 4 + 3 * 10 * 4;
  // x of the layer that keeps its values and two at work in f32; of the other in f16, a vector of four longer.
  assert.equal(parts.activations, 3 * 10 * 64 * 4 + 10 * 68 * 2 + batch + kept + t);
  // One weight in f16, two gradients of the residual stream, and the backward of the attention part: dt, dattention and dq,
  // dk and dv, delta, h, dh, dmid.
  const backward = kept + 10 * (2 * 3 * 2 + 2 * 3 * 64 + 2 * 3 * 32 + 4 * 2 + 2 * 64 + 4 * 64 + 4 * 64);
  assert.equal(parts.work, 64 * 128 * 2 + 2 * 10 * 64 * 4 + backward);
});

Deno.test("gpuBuffers() counts what a 4-bit checkpoint leaves in 16 bits as it is kept", async () => {
  const { config, lora } = optionsOf({ config: configOf({}) });
  await withTinyModel({ name: "llama3_bnb4", change: skipFeedForward }, (folder) => {
    const source = openModel(folder), unquantised = unquantisedWeights(source);
    source.close();
    assert.deepEqual([...unquantised].sort(), [
      "model.layers.1.mlp.down_proj.weight",
      "model.layers.1.mlp.gate_proj.weight",
      "model.layers.1.mlp.up_proj.weight",
    ]);
    for (const f16 of [true, false]) {
      const run = { config, lora, stateBytes: 2, f16, maxBinding: GiB };
      const weights = (unquantised: Set<string>) => peakBytes(modelBuffers({ ...run, unquantised })).weights;
      // Of each of the three, 128 x 64: elements, instead of codes, a byte in 64, and a float behind the map of 256.
      const more = 3 * (8192 * (f16 ? 2 : 4) - 8192 / 2 - 8192 / 64 - 257 * 4);
      assert.equal(weights(unquantised) - weights(new Set()), more);
    }
  });
});

Deno.test("gpuMemoryPlan() of 8 billion parameters at 2 x 2048 with checkpointing needs about 8 GiB", () => {
  const plan = gpuMemoryPlan(optionsOf({ checkpointing: true }));
  assert.deepEqual([plan.rowsPerPass, plan.keepLayers, plan.headChunk], [2, 0, 1024]);
  const { buffers, parts, bytes } = plan;
  const about = (found: number, gb: number) => assert.ok(Math.abs(found / 1e9 / gb - 1) < 0.01, `${found / 1e9}`);
  about(sum(buffers, /\.packed$/), 3.49);
  about(sum(buffers, /^layers.*(codes|nested)/), 0.111);
  about(sum(buffers, /embed_tokens|lm_head/), 2.102);
  about(sum(buffers, /lora_[AB]$/), 0.168);
  about(sum(buffers, /lora_[AB]\.half/), 0.084);
  about(sum(buffers, /lora_[AB]\.grad/), 0.168);
  about(sum(buffers, /lora_[AB]\.state/), 0.085);
  about(sum(buffers, /^x$/), 2 * 4096 * 4096 * 4 / 1e9);
  about(sum(buffers, /^x, packed$/), 32 * 4096 * 4100 * 2 / 1e9);
  about(sum(buffers, /^weight written out$/), 0.117);
  assert.ok(bytes > 7.8 * GiB && bytes < 8.8 * GiB, `${bytes / GiB}`);
  assert.equal(bytes, Object.values(parts).reduce((a, b) => a + b, 0));
});

Deno.test("gpuMemoryPlan() keeps every layer's values where there is room, and as many as fit elsewhere", () => {
  const whole = gpuMemoryPlan(optionsOf());
  assert.equal(whole.keepLayers, 32);
  assert.ok(whole.bytes > 20 * GiB && whole.bytes < 25 * GiB, `${whole.bytes / GiB}`);
  let before = 32;
  for (const gib of [20, 16, 12, 10]) {
    const plan = gpuMemoryPlan(optionsOf({ budget: gib * GiB, windowRows: 1, length: 4096 }));
    assert.ok(plan.bytes <= gib * GiB && plan.keepLayers < before, `${gib}: ${plan.keepLayers} layers`);
    before = plan.keepLayers;
  }
});

Deno.test("gpuMemoryPlan() runs the whole window in one pass where it fits, and in smaller ones where it does not", () => {
  assert.equal(gpuMemoryPlan(optionsOf({ windowRows: 8, length: 200, budget: 12 * GiB })).rowsPerPass, 8);
  const small = gpuMemoryPlan(optionsOf({ windowRows: 64, length: 250, budget: 12 * GiB }));
  assert.ok(small.rowsPerPass > 1 && small.rowsPerPass < 64 && small.bytes <= 12 * GiB, `${small.rowsPerPass}`);
});

Deno.test("gpuMemoryPlan() lets no tensor of a pass be larger than a binding", () => {
  for (const f16 of [true, false]) {
    const maxBinding = 128 * 2 ** 20;
    const { buffers, rowsPerPass, headChunk } = gpuMemoryPlan(
      optionsOf({ windowRows: 8, length: 1500, f16, maxBinding }),
    );
    const largest = Math.max(
      ...buffers.filter(({ part }) => part === "activations" || part === "work").map(bufferBytes),
    );
    assert.ok(largest <= maxBinding, `${largest}`);
    assert.equal(headChunk, 256);
    assert.equal(rowsPerPass, f16 ? 3 : 1);
  }
});

Deno.test("gpuBuffers() without f16 has nothing in f16", () => {
  const run = { ...optionsOf({ f16: false }), tokens: 100, keepLayers: 1, headChunk: 16 };
  assert.deepEqual(gpuBuffers(run).filter(({ dtype }) => dtype === "f16"), []);
});

Deno.test("gpuMemoryPlan() counts what the families and DoRA and dropout add", () => {
  const plain = gpuMemoryPlan(optionsOf({ checkpointing: true }));
  const { lora } = optionsOf();
  const more: Partial<GpuPlanOptions>[] = [
    { config: { ...llama8b, qkNorm: true, postNorms: true } },
    { config: { ...llama8b, qkvBias: true } },
    { config: { ...llama8b, layerTypes: [...Array(31).fill("sliding"), "full"] } },
    { lora: { ...lora, use_dora: true } },
    { lora: { ...lora, lora_dropout: 0.1 } },
    { stateBytes: 8 },
  ];
  for (const changed of more) {
    const { bytes } = gpuMemoryPlan(optionsOf({ checkpointing: true, ...changed }));
    assert.ok(bytes > plain.bytes, JSON.stringify(changed));
  }
});

const refusals: [what: string, options: Partial<GpuPlanOptions> & { length?: number }, says: RegExp, hint: RegExp][] = [
  [
    "too little memory",
    { budget: 5 * GiB },
    /this model in 5\.0 GiB of GPU memory: one row of 2048 tokens .* needs \d/,
    /onnx/,
  ],
  ["checkpointing off", { budget: 9 * GiB, checkpointing: false }, /in 9\.0 GiB/, /gradient_checkpointing on auto/],
  ["a small binding", { maxBinding: 2 ** 25 }, /a row of 2048 tokens needs a tensor of 0\.109 GiB/, /max_length/],
];

for (const [what, options, says, hint] of refusals) {
  Deno.test(`gpuMemoryPlan() refuses ${what} by name`, () => {
    assert.throws(() => gpuMemoryPlan(optionsOf(options)), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, says);
      assert.match(error.hint!, hint);
      return true;
    });
  });
}
