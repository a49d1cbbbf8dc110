import assert from "node:assert/strict";
import {
  ggufProjectionName,
  modelTensors,
  moduleName,
  parsePeftName,
  peftMemoryName,
  peftName,
  reorderHeads,
} from "../../lib/model/names.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { goldenModels } from "../helpers/golden_models.ts";
import { readTinyModel } from "../helpers/tiny_model.ts";

Deno.test("modelTensors() lists exactly the tensors that transformers saved, with their shapes", () => {
  for (const name of goldenModels) {
    const { config, tensors } = readTinyModel(name);
    const listed = modelTensors(configFromHf(config, { source: name }));
    const shapes = Object.fromEntries(listed.map(({ name, shape }) => [name, shape]));
    assert.deepEqual(shapes, Object.fromEntries(Array.from(tensors, ([name, { shape }]) => [name, shape])), name);
    assert.equal(new Set(listed.map(({ gguf }) => gguf)).size, listed.length, `${name}: GGUF names are distinct`);
  }
});

Deno.test("modelTensors() gives llama.cpp's names", () => {
  const gguf = (model: string) => {
    const listed = modelTensors(configFromHf(readTinyModel(model).config, { source: model }));
    return Object.fromEntries(listed.filter(({ layer }) => !layer).map(({ name, gguf }) => [name, gguf]));
  };
  const llama = gguf("llama3");
  assert.equal(llama["model.embed_tokens.weight"], "token_embd.weight");
  assert.equal(llama["model.norm.weight"], "output_norm.weight");
  assert.equal(llama["lm_head.weight"], "output.weight");
  assert.equal(llama["model.layers.0.input_layernorm.weight"], "blk.0.attn_norm.weight");
  assert.equal(llama["model.layers.0.post_attention_layernorm.weight"], "blk.0.ffn_norm.weight");
  assert.equal(llama["model.layers.0.self_attn.o_proj.weight"], "blk.0.attn_output.weight");
  assert.equal(llama["model.layers.0.mlp.gate_proj.weight"], "blk.0.ffn_gate.weight");
  const gemma = gguf("gemma3");
  assert.equal(gemma["model.layers.0.post_attention_layernorm.weight"], "blk.0.post_attention_norm.weight");
  assert.equal(gemma["model.layers.0.pre_feedforward_layernorm.weight"], "blk.0.ffn_norm.weight");
  assert.equal(gemma["model.layers.0.post_feedforward_layernorm.weight"], "blk.0.post_ffw_norm.weight");
  assert.equal(gemma["model.layers.0.self_attn.q_norm.weight"], "blk.0.attn_q_norm.weight");
  assert.equal(gguf("qwen2")["model.layers.0.self_attn.k_proj.bias"], "blk.0.attn_k.bias");
  assert.equal(ggufProjectionName(7, "down_proj"), "blk.7.ffn_down.weight");
});

Deno.test("peftName() is what PEFT saves, and parsePeftName() reads it back", () => {
  assert.equal(peftName(3, "q_proj", "lora_A"), "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight");
  assert.equal(peftName(3, "up_proj", "lora_B"), "base_model.model.model.layers.3.mlp.up_proj.lora_B.weight");
  const magnitude = "base_model.model.model.layers.3.mlp.up_proj.lora_magnitude_vector";
  assert.equal(peftName(3, "up_proj", "lora_magnitude_vector"), magnitude);
  assert.equal(
    peftMemoryName(3, "q_proj", "lora_A"),
    "base_model.model.model.layers.3.self_attn.q_proj.lora_A.default.weight",
  );
  for (const part of ["lora_A", "lora_B", "lora_magnitude_vector"] as const) {
    for (const projection of ["o_proj", "gate_proj"] as const) {
      assert.deepEqual(parsePeftName(peftName(12, projection, part)), { layer: 12, projection, part });
      assert.deepEqual(parsePeftName(peftMemoryName(12, projection, part)), { layer: 12, projection, part });
    }
  }
  for (
    const name of ["lm_head.lora_A.weight", `${moduleName(0, "q_proj")}.weight`, "model.layers.0.mlp.q_proj.lora_A"]
  ) {
    assert.equal(parsePeftName(name), null, name);
  }
});

Deno.test("reorderHeads() puts row 2j+p of a head at p*half + j, and back", () => {
  // Two heads of 6 rows, width 2: row r holds [r, r + 0.5].
  const x = Float32Array.from({ length: 24 }, (_, i) => (i >> 1) + (i % 2) / 2);
  const apart = reorderHeads(x, { headDim: 6, width: 2 });
  assert.deepEqual(Array.from(apart).filter((_, i) => i % 2 === 0), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
  assert.deepEqual(Array.from(apart).filter((_, i) => i % 2 === 1).map((v) => v - 0.5), [
    0,
    2,
    4,
    1,
    3,
    5,
    6,
    8,
    10,
    7,
    9,
    11,
  ]);
  assert.deepEqual(reorderHeads(apart, { headDim: 6, width: 2, interleave: true }), x);
});
