import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../lib/errors.ts";
import { configFromGguf } from "../../lib/model/parse_gguf_config.ts";
import { ropeTables } from "../../lib/model/rope.ts";

const llama: Record<string, unknown> = {
  "general.architecture": "llama",
  "general.name": "Small",
  "llama.block_count": 4,
  "llama.context_length": 8192,
  "llama.embedding_length": 576,
  "llama.feed_forward_length": 1536,
  "llama.attention.head_count": 9,
  "llama.attention.head_count_kv": 3,
  "llama.rope.freq_base": 100000,
  "llama.rope.dimension_count": 64,
  "llama.attention.layer_norm_rms_epsilon": Math.fround(1e-5),
  "tokenizer.ggml.bos_token_id": 1,
  "tokenizer.ggml.eos_token_id": 2,
};
const gemma3: Record<string, unknown> = {
  "general.architecture": "gemma3",
  "gemma3.block_count": 7n,
  "gemma3.context_length": 32768,
  "gemma3.embedding_length": 1152,
  "gemma3.feed_forward_length": 6912,
  "gemma3.attention.head_count": 4,
  "gemma3.attention.head_count_kv": 1,
  "gemma3.attention.key_length": 256,
  "gemma3.attention.value_length": 256,
  "gemma3.attention.layer_norm_rms_epsilon": Math.fround(1e-6),
  "gemma3.attention.sliding_window": 512,
  "gemma3.rope.freq_base": 1000000,
  "tokenizer.ggml.eos_token_id": 1,
  "tokenizer.ggml.eot_token_id": 106,
};

function parse(keys: Record<string, unknown>, ropeFactors?: Float32Array) {
  const tensors = new Map([["token_embd.weight", { shape: [49152, 576] }]]);
  const metadata = new Map(Object.entries(keys).filter(([, value]) => value !== undefined));
  return configFromGguf(metadata, { source: "model.gguf", tensors, ropeFactors });
}

Deno.test("configFromGguf() reads a llama, its floats as the numbers that were meant", () => {
  const config = parse(llama);
  assert.equal(config.rmsEps, 1e-5);
  assert.equal(config.name, "Small");
  assert.deepEqual([config.vocabSize, config.headDim, config.kvHeads, config.tied], [49152, 64, 3, true]);
  assert.deepEqual(config.rope, { theta: 100000, scaling: { type: "none" } });
  assert.deepEqual(config.layerTypes, ["full", "full", "full", "full"]);
  assert.deepEqual([config.bosTokenId, config.eosTokenIds], [1, [2]]);
});

Deno.test("configFromGguf() takes rope factors from the tensor, and linear scaling from the metadata", () => {
  const factors = new Float32Array(32).fill(2);
  assert.deepEqual(parse(llama, factors).rope.scaling, { type: "factors", factors });
  const linear = parse({ ...llama, "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4 });
  assert.deepEqual(linear.rope.scaling, { type: "linear", factor: 4 });
  // As llama.cpp: a factor alone means linear scaling, and so does the key of older files.
  assert.deepEqual(parse({ ...llama, "llama.rope.scaling.factor": 4 }).rope, linear.rope);
  assert.deepEqual(parse({ ...llama, "llama.rope.scale_linear": 4 }).rope, linear.rope);
  const none = parse({ ...llama, "llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4 });
  assert.deepEqual(none.rope.scaling, { type: "none" });
});

Deno.test("configFromGguf() reads gemma3 with llama.cpp's defaults, and its newer keys", () => {
  const config = parse(gemma3);
  assert.deepEqual(config.layerTypes, ["sliding", "sliding", "sliding", "sliding", "sliding", "full", "sliding"]);
  assert.deepEqual([config.slidingWindow, config.attentionScale], [512, 1 / 16]);
  assert.deepEqual(config.ropeLocal, { theta: 10000, scaling: { type: "none" } });
  assert.deepEqual(config.eosTokenIds, [1, 106]);
  const period = parse({ ...gemma3, "gemma3.attention.sliding_window_pattern": 2, "gemma3.rope.freq_base_swa": 5000 });
  assert.equal(period.layerTypes.filter((type) => type === "full").length, 3);
  assert.equal(period.ropeLocal.theta, 5000);
  const listed = [true, false, true, true, true, true, true];
  const list = parse({ ...gemma3, "gemma3.attention.sliding_window_pattern": listed });
  assert.deepEqual(list.layerTypes.map((type) => type === "sliding"), listed);
});

const refused: [string, Record<string, unknown>, RegExp][] = [
  ["no architecture", { ...llama, "general.architecture": undefined }, /general.architecture is missing/],
  [
    "an unknown architecture",
    { ...llama, "general.architecture": "mamba" },
    /unknown architecture "mamba".*\| .*llama/,
  ],
  ["an adapter", { ...llama, "general.type": "adapter" }, /general.type is "adapter", not a model/],
  ["experts", { ...llama, "llama.expert_count": 8 }, /expert_count 8 is not supported/],
  [
    "partial rope",
    { ...llama, "llama.rope.dimension_count": 32 },
    /rope.dimension_count is 32, expected the head size 64/,
  ],
  ["longrope", { ...llama, "llama.rope.scaling.type": "longrope" }, /rope.scaling.type "longrope" is not supported/],
  ["no layers", { ...llama, "llama.block_count": undefined }, /\(llama\.\*\).*block_count is missing/],
  ["heads a layer", { ...llama, "llama.attention.head_count_kv": new Int32Array([1, 2]) }, /head_count_kv is/],
  ["a text for a number", { ...llama, "llama.embedding_length": "x" }, /embedding_length is "x"/],
];

Deno.test("configFromGguf() refuses what it cannot compute, by name", async (t) => {
  for (const [what, keys, message] of refused) {
    await t.step(what, () => {
      assert.throws(() => parse(keys), (error) => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(`${error.message} | ${error.hint}`, message);
        return true;
      });
    });
  }
  await t.step("rope factors of another length", () => {
    assert.throws(() => parse(llama, new Float32Array(31).fill(1)), /rope_freqs.weight has 31 elements, expected 32/);
    assert.throws(() => parse(llama, new Float32Array(32)), /rope_freqs.weight\[0\] is 0/);
  });
});

Deno.test("configFromGguf() reads any rope scaling as finite numbers, or refuses it with a UserError", () => {
  const value = fc.oneof(fc.float(), fc.integer(), fc.string(), fc.boolean(), fc.bigInt());
  const keys = fc.record({
    type: fc.oneof(fc.constantFrom("none", "linear", "yarn", "longrope", "toString"), value),
    factor: value,
    original_context_length: value,
    attn_factor: value,
    yarn_beta_fast: value,
    yarn_beta_slow: value,
    yarn_log_multiplier: value,
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(keys, fc.option(value), (scaling, base) => {
      const found = Object.entries(scaling).map(([key, value]) => [`llama.rope.scaling.${key}`, value]);
      let config;
      try {
        config = parse({
          ...llama,
          ...Object.fromEntries(found),
          ...base === null ? {} : { "llama.rope.freq_base": base },
        });
      } catch (error) {
        assert.ok(error instanceof UserError, String((error as Error).stack));
        return;
      }
      const { cos, sin } = ropeTables(config.rope, config.headDim, [1]);
      assert.ok([...cos, ...sin].every(Number.isFinite));
    }),
    { numRuns: 500 },
  );
});
