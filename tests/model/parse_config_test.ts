import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";

/** A config.json of transformers 4 as SmolLM2 has it. */
const llama = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 576,
  intermediate_size: 1536,
  max_position_embeddings: 8192,
  mlp_bias: false,
  model_type: "llama",
  num_attention_heads: 9,
  num_hidden_layers: 4,
  num_key_value_heads: 3,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  rope_theta: 100000,
  tie_word_embeddings: true,
  vocab_size: 49152,
};
const qwen2 = {
  ...llama,
  model_type: "qwen2",
  num_hidden_layers: 3,
  sliding_window: 4096,
  max_window_layers: 2,
  use_sliding_window: false,
};
/** Gemma 3 as transformers 4 wrote it. */
const gemma3 = {
  model_type: "gemma3_text",
  attention_bias: false,
  attn_logit_softcapping: null,
  bos_token_id: 2,
  eos_token_id: [1, 106],
  final_logit_softcapping: null,
  head_dim: 256,
  hidden_activation: "gelu_pytorch_tanh",
  hidden_size: 1152,
  intermediate_size: 6912,
  max_position_embeddings: 32768,
  num_attention_heads: 4,
  num_hidden_layers: 7,
  num_key_value_heads: 1,
  query_pre_attn_scalar: 64,
  rms_norm_eps: 1e-6,
  rope_local_base_freq: 20000,
  rope_scaling: { rope_type: "linear", factor: 8 },
  rope_theta: 1000000,
  sliding_window: 512,
  sliding_window_pattern: 3,
  vocab_size: 262144,
};

const parse = (json: unknown, generationConfig?: unknown) =>
  configFromHf(json, { source: "config.json", generationConfig });

Deno.test("configFromHf() reads a llama of transformers 4", () => {
  const config = parse(llama);
  assert.equal(config.headDim, 64);
  assert.deepEqual(config.rope, { theta: 100000, scaling: { type: "none" } });
  assert.deepEqual(config.layerTypes, ["full", "full", "full", "full"]);
  assert.equal(config.attentionScale, 1 / 8);
  assert.deepEqual([config.tied, config.qkvBias, config.qkNorm, config.postNorms], [true, false, false, false]);
  assert.deepEqual([config.bosTokenId, config.eosTokenIds], [1, [2]]);
});

Deno.test("configFromHf() reads llama3 rope scaling in both spellings", () => {
  const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const old = parse({ ...llama, rope_theta: 500000, rope_scaling: { rope_type: "llama3", ...scaling } });
  const { rope_theta: _, ...rest } = llama;
  const recent = parse({ ...rest, rope_parameters: { rope_type: "llama3", rope_theta: 500000, ...scaling } });
  assert.deepEqual(old.rope, {
    theta: 500000,
    scaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
  });
  assert.deepEqual(recent.rope, old.rope);
});

Deno.test("configFromHf() takes end-of-text ids from generation_config.json first", () => {
  assert.deepEqual(parse(llama, { eos_token_id: [7, 8] }).eosTokenIds, [7, 8]);
  assert.deepEqual(parse(llama, { eos_token_id: 9 }).eosTokenIds, [9]);
  assert.deepEqual(parse(llama, {}).eosTokenIds, [2]);
  assert.deepEqual(parse({ ...llama, eos_token_id: null }).eosTokenIds, []);
});

Deno.test("configFromHf() reads which layers of qwen2 and mistral slide", () => {
  assert.deepEqual(parse(qwen2).layerTypes, ["full", "full", "full"]);
  assert.equal(parse(qwen2).qkvBias, true);
  const sliding = parse({ ...qwen2, use_sliding_window: true });
  assert.deepEqual(sliding.layerTypes, ["full", "full", "sliding"]);
  assert.equal(sliding.slidingWindow, 4096);
  const mistral = { ...llama, model_type: "mistral", num_hidden_layers: 2 };
  assert.deepEqual(parse({ ...mistral, sliding_window: 4096 }).layerTypes, ["sliding", "sliding"]);
  assert.deepEqual(parse({ ...mistral, sliding_window: null }).layerTypes, ["full", "full"]);
});

Deno.test("configFromHf() reads gemma3 of transformers 4", () => {
  const config = parse(gemma3);
  assert.equal(config.architecture, "gemma3");
  assert.deepEqual(config.layerTypes, ["sliding", "sliding", "full", "sliding", "sliding", "full", "sliding"]);
  assert.deepEqual(config.rope, { theta: 1000000, scaling: { type: "linear", factor: 8 } });
  assert.deepEqual(config.ropeLocal, { theta: 20000, scaling: { type: "none" } });
  assert.equal(config.attentionScale, 1 / 8);
  assert.equal(config.embeddingScale, Math.sqrt(1152));
  assert.deepEqual([config.tied, config.qkNorm, config.postNorms, config.normPlusOne], [true, true, true, true]);
  assert.equal(config.activation, "gelu_tanh");
  assert.deepEqual(config.eosTokenIds, [1, 106]);
});

/** What is wrong, and what the message must say. */
const refused: [string, unknown, RegExp][] = [
  ["not an object", [1], /expected a JSON object, found \[1\]/],
  ["no model_type", { ...llama, model_type: undefined }, /model_type is missing/],
  ["an unknown architecture", { ...llama, model_type: "lama" }, /unknown model_type "lama".*\| supported are llama/],
  [
    "a model of classes",
    { ...llama, architectures: ["LlamaForSequenceClassification"] },
    /architectures is "LlamaForSequenceClassification".*\| .*ForCausalLM/,
  ],
  ["a model of embeddings", { ...llama, architectures: ["LlamaModel"] }, /not a model that writes text/],
  ["MLX's weights", { ...llama, quantization: { bits: 4 } }, /quantised by MLX are not read \(quantization\)/],
  ["no object", [], /expected a JSON object, found \[\] \| fetch/],
  ["gemma3 with images", { ...gemma3, model_type: "gemma3" }, /image encoder/],
  ["another activation", { ...llama, hidden_act: "relu" }, /hidden_act "relu" is not supported for llama/],
  ["plain gelu", { ...gemma3, hidden_activation: "gelu" }, /hidden_activation "gelu" is not supported for gemma3/],
  ["attention biases", { ...llama, attention_bias: true }, /attention_bias true is not supported/],
  ["feed-forward biases", { ...llama, mlp_bias: true }, /mlp_bias true is not supported/],
  ["soft caps", { ...gemma3, final_logit_softcapping: 30 }, /final_logit_softcapping 30 is not supported/],
  ["partial rope", { ...llama, partial_rotary_factor: 0.5 }, /partial_rotary_factor 0.5 is not supported/],
  ["longrope", { ...llama, rope_scaling: { type: "longrope", factor: 4 } }, /rope type "longrope" is not supported/],
  ["scaling without factor", { ...llama, rope_scaling: { type: "linear" } }, /rope_scaling.factor is undefined/],
  ["quantised weights", { ...llama, quantization_config: { quant_method: "gptq" } }, /quantised by "gptq"/],
  [
    "8-bit weights of bitsandbytes",
    { ...llama, quantization_config: { quant_method: "bitsandbytes", load_in_8bit: true } },
    /quantised by "bitsandbytes" in 8 bits \(LLM.int8\) are not read/,
  ],
  ["heads that do not divide", { ...llama, num_key_value_heads: 4 }, /9 query heads cannot be shared by 4/],
  ["a size that is text", { ...llama, hidden_size: "576" }, /hidden_size is "576", expected a whole number/],
  ["a size that is missing", { ...llama, vocab_size: undefined }, /vocab_size is missing/],
  ["negative layers", { ...llama, num_hidden_layers: -1 }, /num_hidden_layers is -1/],
  ["absurdly many layers", { ...llama, num_hidden_layers: 1e9 }, /num_hidden_layers is 1000000000/],
  ["heads that do not divide the width", { ...llama, hidden_size: 577 }, /head_dim is 64\.1/],
  ["eps 0", { ...llama, rms_norm_eps: 0 }, /rms_norm_eps is 0, expected a number above 0/],
  ["a token outside", { ...llama, eos_token_id: 49152 }, /token id 49152 is outside the vocabulary of 49152/],
  ["layer types of another length", { ...gemma3, layer_types: ["full_attention"] }, /layer_types has 1 entries/],
  [
    "an unknown layer type",
    { ...gemma3, num_hidden_layers: 1, layer_types: ["chunked_attention"] },
    /layer_types holds "chunked_attention"/,
  ],
  ["several problems", { ...llama, mlp_bias: true, vocab_size: 0 }, /mlp_bias true.*; vocab_size is 0/],
];

Deno.test("configFromHf() refuses what it cannot compute, by name", async (t) => {
  for (const [what, json, message] of refused) {
    await t.step(what, () => {
      assert.throws(() => parse(json), (error) => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(`${error.message} | ${error.hint}`, message);
        assert.match(error.message, /^config\.json/);
        return true;
      });
    });
  }
});
