import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { writeAtomic } from "../../lib/files/atomic.ts";
import { f16ToF32, f32ToF16 } from "../../lib/formats/float16.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import type { GgufType, GgufValue } from "../../lib/formats/gguf_values.ts";
import { reorderHeads } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import { toFloat32 } from "../../lib/quant/decode.ts";
import { halfToF32 } from "../../lib/quant/half.ts";
import { encodeQ8_0 } from "../../lib/quant/q8_0.ts";
import { goldenFolder, goldenModels } from "../helpers/golden_models.ts";
import { storeF32, type TinyModel, withTinyModel } from "../helpers/tiny_model.ts";

/** Runs `use`, which must throw a UserError that matches. */
function refuses(use: () => unknown, message: RegExp): void {
  assert.throws(use, (error) => {
    assert.ok(error instanceof UserError, String((error as Error).stack));
    assert.match(`${error.message} | ${error.hint}`, message);
    assert.ok(!error.message.includes("\n"), "one line");
    return true;
  });
}

Deno.test("openModel() gives each stored tensor's numbers by name, Gemma's norms as the full factor", async () => {
  for (const name of ["qwen2", "gemma3"]) {
    await withTinyModel({ name }, (folder) => {
      const source = openModel(folder);
      for (const { name: tensor, role, shape } of source.tensors) {
        const stored = toFloat32(source.bytesOf(tensor), { dtype: "BF16", count: shape.reduce((a, b) => a * b) });
        const expected = name === "gemma3" && role === "norm" ? stored.map((x) => x + 1) : stored;
        assert.deepEqual(source.float32(tensor), expected, tensor);
        assert.equal(source.precision(tensor), "BF16");
      }
      source.close();
    });
  }
});

Deno.test("openModel() reads GGUF: interleaved q and k put right, block formats rounded to float16", async () => {
  await withTinyModel({ name: "llama3" }, (folder) => {
    const source = openModel(folder), { config } = source;
    const factors = Float32Array.of(...new Array(16).keys()).map((i) => 1 + i);
    const tensors = source.tensors.map((tensor) => {
      let x = source.float32(tensor.name);
      if (tensor.interleavedInGguf) x = reorderHeads(x, { headDim: 32, width: 128, interleave: true });
      const quantised = tensor.role === "linear";
      const bytes = quantised ? encodeQ8_0(x) : new Uint8Array(x.buffer);
      return { name: tensor.gguf, dtype: quantised ? "Q8_0" : "F32", shape: tensor.shape, bytes };
    });
    const rope = { name: "rope_freqs.weight", dtype: "F32", shape: [16], bytes: new Uint8Array(factors.buffer) };
    const keys: [string, GgufType, GgufValue][] = [
      ["general.architecture", "string", "llama"],
      ["llama.block_count", "uint32", config.layers],
      ["llama.context_length", "uint32", config.maxPositions],
      ["llama.embedding_length", "uint32", config.hiddenSize],
      ["llama.feed_forward_length", "uint32", config.intermediateSize],
      ["llama.attention.head_count", "uint32", config.heads],
      ["llama.attention.head_count_kv", "uint32", config.kvHeads],
      ["llama.attention.layer_norm_rms_epsilon", "float32", config.rmsEps],
      ["llama.rope.freq_base", "float32", config.rope.theta],
      ["tokenizer.chat_template", "string", "{{ messages }}"],
    ];
    const path = `${folder}/model.gguf`;
    const lazy = [...tensors, rope].map(({ bytes, ...tensor }) => ({
      ...tensor,
      byteLength: bytes.length,
      data: () => bytes,
    }));
    writeAtomic(path, writeGguf(keys.map(([key, type, value]) => [key, { type, value }]), lazy));

    const gguf = openModel(path);
    assert.deepEqual({ ...gguf.config, name: "" }, {
      ...config,
      name: "",
      rope: { theta: config.rope.theta, scaling: { type: "factors", factors } },
      ropeLocal: { theta: config.rope.theta, scaling: { type: "factors", factors } },
      bosTokenId: null,
      eosTokenIds: [],
    });
    assert.equal(gguf.chatTemplate, "{{ messages }}");
    for (const { name, role, shape } of source.tensors) {
      const x = source.float32(name);
      const bytes = encodeQ8_0(x);
      const expected = role === "linear" ? f16ToF32(f32ToF16(toFloat32(bytes, { dtype: "Q8_0", count: x.length }))) : x;
      assert.deepEqual(gguf.float32(name), expected, `${name} [${shape}]`);
    }
    refuses(() => gguf.tokenizer(), /Cannot find the tokenizer: .*model.gguf has no tokenizer.ggml.tokens/);
    gguf.close();
    source.close();
  });
});

Deno.test("fingerprint() changes with the file", async () => {
  await withTinyModel({ name: "llama_tied" }, (folder) => {
    const print = () => {
      const source = openModel(folder);
      const result = source.fingerprint();
      source.close();
      return result;
    };
    const first = print();
    assert.equal(print(), first);
    Deno.utimeSync(`${folder}/model.safetensors`, new Date(), new Date(Date.now() + 5000));
    assert.notEqual(print(), first);
  });
});

const put = (model: TinyModel, name: string, data: number[], shape: number[]) =>
  model.tensors.set(name, storeF32(data, shape));
const up = "model.layers.1.mlp.up_proj.weight";

/** What is wrong with a tiny llama3, and what the message must say. */
const refused: [string, (model: TinyModel) => void, RegExp][] = [
  [
    "a quantisation of another kind",
    ({ config }) => config.quantization_config = { quant_method: "awq", bits: 4 },
    /config.json: weights quantised by "awq" are not read .*\| take the same model in 16 bits, as bitsandbytes 4-bit/,
  ],
  [
    "a 4-bit part without its weight's state",
    (model) => put(model, `${up}.absmax`, [1], [1]),
    /Tensor "model.layers.1.mlp.up_proj.weight.absmax" in .* is of a 4-bit weight without a quant_state/,
  ],
  [
    "shapes that contradict the configuration",
    ({ config }) => config.intermediate_size = 256,
    /Tensor "model.layers.0.mlp.gate_proj.weight" in .* has shape \[320, 128\], expected \[256, 128\]/,
  ],
  [
    "a tensor of the right size and the wrong shape",
    (model) => put(model, up, new Array(320 * 128).fill(0), [128, 320]),
    /Tensor "model.layers.1.mlp.up_proj.weight" in .* has shape \[128, 320\], expected \[320, 128\]/,
  ],
  [
    "a missing tensor",
    ({ tensors }) => tensors.delete(up),
    /Cannot find tensor "model.layers.1.mlp.up_proj.weight" in/,
  ],
  [
    "more layers than there are",
    ({ config }) => config.num_hidden_layers = 3,
    /Cannot find tensor "model.layers.2.input_layernorm.weight" and 8 others .*\| .*llama with 3 layers/,
  ],
  [
    "a tensor of another architecture",
    (model) => put(model, "model.layers.0.self_attn.q_proj.bias", [1], [1]),
    /Tensor "model.layers.0.self_attn.q_proj.bias" in .* is not part of a llama model/,
  ],
  [
    "integers for weights",
    ({ tensors }) => tensors.set("model.norm.weight", { dtype: "I32", shape: [128], bytes: new Uint8Array(512) }),
    /"model.norm.weight".*I32/,
  ],
  [
    "NaN",
    (model) => put(model, "model.norm.weight", new Array(128).fill(0).map((_, i) => i === 77 ? NaN : 1), [128]),
    /Tensor "model.norm.weight" in .* holds NaN at element 77 of 128/,
  ],
  [
    "infinity",
    (model) => put(model, "model.norm.weight", new Array(128).fill(0).map((_, i) => i === 127 ? -Infinity : 1), [128]),
    /holds -Infinity at element 127 of 128/,
  ],
];

Deno.test("openModel() and float32() refuse contradictory and damaged weights", async (t) => {
  for (const [what, change, message] of refused) {
    await t.step(what, () =>
      withTinyModel({ name: "llama3", change }, (folder) => {
        refuses(() => {
          const source = openModel(folder);
          try {
            for (const { name } of source.tensors) source.float32(name);
          } finally {
            source.close();
          }
        }, message);
      }));
  }
});

Deno.test("openModel() says what is missing or not a model", async (t) => {
  await withTinyModel({ name: "llama_tied" }, async (folder) => {
    await t.step("no such path", () => refuses(() => openModel(`${folder}/none`), /Cannot open model .*none: no such/));
    await t.step(
      "one file of a folder",
      () => refuses(() => openModel(`${folder}/model.safetensors`), /it is one file of a model \| give the folder/),
    );
    await t.step("no tokenizer", () => {
      const source = openModel(folder);
      refuses(() => source.tokenizer(), /Cannot find the tokenizer: .*tokenizer.json does not exist/);
      source.close();
    });
    await t.step("a file of another kind", () => {
      Deno.writeTextFileSync(`${folder}/notes.txt`, "not a model at all, only a text");
      refuses(() => openModel(`${folder}/notes.txt`), /notes.txt.*GGUF/);
    });
    await t.step("what stands in a file's place", () => {
      Deno.writeTextFileSync(`${folder}/lfs.gguf`, "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
      refuses(() => openModel(`${folder}/lfs.gguf`), /it is a Git LFS pointer.*git lfs pull/);
      Deno.writeTextFileSync(`${folder}/page.gguf`, "<!DOCTYPE html><title>404</title>");
      refuses(() => openModel(`${folder}/page.gguf`), /it is a web page/);
    });
    await t.step("pickled weights", () => {
      Deno.writeTextFileSync(`${folder}/weights.pt`, "x");
      refuses(() => openModel(`${folder}/weights.pt`), /pickled PyTorch weights are not read.*safetensors/);
      Deno.removeSync(`${folder}/weights.pt`);
    });
    await t.step("an empty file", () => {
      Deno.writeTextFileSync(`${folder}/empty.gguf`, "");
      refuses(() => openModel(`${folder}/empty.gguf`), /empty.gguf/);
    });
    await t.step("weights cut short", () => {
      const whole = Deno.readFileSync(`${folder}/model.safetensors`);
      Deno.writeFileSync(`${folder}/model.safetensors`, whole.subarray(0, whole.length - 1000));
      refuses(() => openModel(folder), /model.safetensors/);
    });
    await t.step("a broken config.json", () => {
      Deno.copyFileSync(`${goldenFolder}llama_tied/model.safetensors`, `${folder}/model.safetensors`);
      Deno.writeTextFileSync(`${folder}/config.json`, '{"model_type": "llama",');
      refuses(() => openModel(folder), /Cannot read .*config.json: .*JSON/);
      Deno.writeFileSync(`${folder}/config.json`, Uint8Array.of(0x7b, 0xff, 0x7d));
      refuses(() => openModel(folder), /config.json: it is not UTF-8/);
      Deno.removeSync(`${folder}/config.json`);
      refuses(() => openModel(folder), /config.json: no such file/);
    });
    await t.step("no weights", () => {
      Deno.removeSync(`${folder}/model.safetensors`);
      refuses(() => openModel(folder), /Cannot find model.safetensors in .*name the file itself: .*empty.gguf/);
      Deno.writeTextFileSync(`${folder}/adapter_config.json`, "{}");
      refuses(() => openModel(folder), /this folder holds an adapter/);
    });
  });
});

Deno.test("openModel() opens every golden model", () => {
  for (const name of goldenModels) openModel(goldenFolder + name).close();
});

Deno.test("half() gives float32()'s numbers in 16 bits where they are stored so, and refuses what is not finite", async () => {
  const table = "model.embed_tokens.weight";
  for (const name of ["qwen3", "llama_tied"]) {
    const source = openModel(goldenFolder + name), half = source.half(table);
    assert.equal(half === undefined, source.precision(table) === "F32", name);
    if (half) assert.deepEqual(halfToF32(half), source.float32(table));
    assert.equal(source.half("model.layers.0.mlp.up_proj.weight"), undefined, "projections are quantised");
    source.close();
  }
  const change = ({ tensors }: TinyModel) => {
    const { shape } = tensors.get(table)!, bytes = new Uint8Array(2 * shape[0] * shape[1]);
    bytes.set([0x80, 0x7f], 6);
    tensors.set(table, { dtype: "BF16", shape, bytes });
  };
  await withTinyModel({ name: "qwen3", change }, (folder) => {
    const source = openModel(folder);
    assert.throws(() => source.half(table), /"model\.embed_tokens\.weight" in .* holds Infinity at element 3 of \d+/);
    source.close();
  });
});
