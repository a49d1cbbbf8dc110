/**
 * One layer's backward list against central differences of its forward list, in float64 and on ONNX Runtime: all flags of
 * the five families, with biases, dropout masks and DoRA. DoRA's norms are an input of their own here, held still, since
 * training takes them as constants (as PEFT does).
 */
import assert from "node:assert/strict";
import { causalMask, makeBatch, spansOf } from "../../lib/model/batch.ts";
import { ropeTables } from "../../lib/model/rope.ts";
import { layerBackward } from "../../lib/model/backward.ts";
import type { ModelConfig } from "../../lib/model/config.ts";
import { layerForward } from "../../lib/model/forward.ts";
import { projections, projectionShape } from "../../lib/model/names.ts";
import { createOnnxExecutor } from "../../lib/onnx/executor.ts";
import type { Segment, Value } from "../../lib/ops.ts";
import { assertClose } from "../helpers/close.ts";
import { assertGradient, randomNumbers } from "../helpers/finite_difference.ts";
import { host, type HostValue } from "../reference/host.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

const base = {
  ...{ vocabSize: 11, hiddenSize: 6, intermediateSize: 10, layers: 1, heads: 4, kvHeads: 2, headDim: 4 },
  ...{ rmsEps: 1e-5, activation: "silu", qkvBias: false, qkNorm: false, postNorms: false, attentionScale: 0.5 },
} as unknown as ModelConfig;

const families: Record<string, Partial<ModelConfig>> = {
  llama: {},
  qwen2: { qkvBias: true },
  qwen3: { qkNorm: true },
  gemma3: { qkNorm: true, postNorms: true, activation: "gelu_tanh" },
};

/** Everything a layer reads, random: three rows of different length. */
function layerInputs(config: ModelConfig, adapter: { dora: boolean; dropout: boolean }): Record<string, HostValue> {
  const rows = [3, 1, 4].map((n) => ({ tokens: new Int32Array(n), targets: new Uint8Array(n) }));
  const batch = makeBatch(rows), T = batch.tokens.length, [B, L] = [batch.count, batch.longest];
  const { cos, sin } = ropeTables({ theta: 100, scaling: { type: "none" } }, config.headDim, batch.positions);
  let seed = 1;
  const random = (...shape: number[]) => host(randomNumbers(shape.reduce((a, b) => a * b, 1), seed++), shape);
  const inputs: Record<string, HostValue> = {
    x: random(T, config.hiddenSize),
    dy: random(T, config.hiddenSize),
    cos: host(cos, [T, config.headDim / 2]),
    sin: host(sin, [T, config.headDim / 2]),
    "rows.spans": host(spansOf(batch.positions, 3), [T, 2]),
    "rows.gather": host(batch.gather, [B, L]),
    "rows.scatter": host(batch.scatter, [T]),
    "rows.live": host(batch.live, [B, L]),
    "rows.mask": host(causalMask(L, 3), [L, L]),
  };
  for (const name of ["input", "post_attention", "pre_feedforward", "post_feedforward"]) {
    inputs[`${name}_layernorm`] = random(config.hiddenSize);
  }
  for (const name of ["q_norm", "k_norm"]) inputs[name] = random(config.headDim);
  for (const name of projections) {
    const [O, I] = projectionShape(config, name);
    inputs[name] = random(O, I);
    if (config.qkvBias && /^[qkv]_/.test(name)) inputs[`${name}.bias`] = random(O);
    inputs[`${name}.lora_A`] = random(2, I);
    inputs[`${name}.lora_B`] = random(O, 2);
    if (adapter.dora) {
      inputs[`${name}.magnitude`] = random(O);
      inputs[`${name}.norm`] = host(random(O).data.map((x) => 1.5 + x / 3) as Float64Array, [O]);
    }
    if (adapter.dropout) {
      const mask = Float64Array.from({ length: T * I }, (_, i) => (i * 7 + seed) % 3 === 0 ? 0 : 1.5);
      inputs[`${name}.dropout`] = host(mask, [T, I]);
    }
  }
  return inputs;
}

for (const [family, flags] of Object.entries(families)) {
  for (
    const adapter of [{ dora: false, dropout: false }, { dora: false, dropout: true }, { dora: true, dropout: false }]
  ) {
    const title = `${family}${adapter.dora ? " with DoRA" : ""}${adapter.dropout ? " with dropout" : ""}`;
    const config = { ...base, ...flags } as ModelConfig, options = { config, loraScale: 0.7 };

    Deno.test(`layerBackward() is the gradient of layerForward(): ${title}`, () => {
      const inputs = layerInputs(config, adapter);
      const { y: _, ...saved } = layerForward(opsFloat64, inputs, options);
      const gradients = layerBackward(opsFloat64, { ...inputs, ...saved }, options);
      const loss = () => {
        const { y } = layerForward(opsFloat64, inputs, options);
        return Array.from(y.data).reduce((sum, value, i) => sum + value * inputs.dy.data[i], 0);
      };
      const parts = adapter.dora ? ["lora_A", "lora_B", "magnitude"] : ["lora_A", "lora_B"];
      const trained = projections.flatMap((name) => parts.map((part) => `${name}.${part}`));
      assert.deepEqual(Object.keys(gradients).sort(), ["dx", ...trained.map((name) => `${name}.grad`)].sort());
      for (const name of ["x", ...trained]) {
        const gradient = gradients[name === "x" ? "dx" : `${name}.grad`];
        assert.deepEqual(gradient.shape, inputs[name].shape);
        assertGradient(loss, { x: inputs[name].data as Float64Array, gradient: gradient.data, what: name, rtol: 1e-6 });
      }
    });

    Deno.test(`layerBackward() on ONNX Runtime is the reference's: ${title}`, async () => {
      const inputs = layerInputs(config, adapter);
      const { y: _, ...saved } = layerForward(opsFloat64, inputs, options);
      const expected = layerBackward(opsFloat64, { ...inputs, ...saved }, options);
      const executor = createOnnxExecutor({ threads: 1 });
      const values = Object.entries(inputs).map(([name, { data, shape }]): [string, Value] => {
        const numbers = data instanceof Int32Array ? data : Float32Array.from(data);
        return [name, executor.tensor(numbers, shape)];
      });
      const segment: Segment = {
        key: "forward and backward",
        build(ops, given) {
          const { y: _, ...kept } = layerForward(ops, given, options);
          return layerBackward(ops, { ...given, ...kept }, options);
        },
      };
      const found = await executor.run(segment, Object.fromEntries(values));
      for (const [name, { data }] of Object.entries(expected)) {
        // f32 through some thirty operations on values of unit size.
        assertClose(await executor.read(found[name]), data, { rtol: 2e-5, what: name });
      }
      await executor.dispose();
    });
  }
}
