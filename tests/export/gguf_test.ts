// Tiny models of every architecture written as GGUF and as a safetensors folder, and read back.
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { exportGguf } from "../../lib/export/gguf.ts";
import { ropeFactors } from "../../lib/export/gguf_keys.ts";
import { hfConfig } from "../../lib/export/hf_config.ts";
import { exportLoraGguf } from "../../lib/export/lora_gguf.ts";
import { exportMergedFolder } from "../../lib/export/merged_folder.ts";
import { mergedModel } from "../../lib/export/merge.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "../../lib/formats/float16.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { elementCount } from "../../lib/formats/tensor_file.ts";
import type { ModelConfig } from "../../lib/model/config.ts";
import { reorderHeads } from "../../lib/model/names.ts";
import { type ModelSource, openModel } from "../../lib/model/source.ts";
import { toFloat32 } from "../../lib/quant/decode.ts";
import { encodeQ8_0 } from "../../lib/quant/q8_0.ts";
import { type Tokenizer, tokenizerFromGguf, tokenizerFromJson } from "../../lib/text/tokenizer.ts";
import { goldenModels } from "../helpers/golden_models.ts";
import { goldenAdapter, makeTinyFolder, tinyVocabulary } from "../helpers/tiny_folders.ts";
import { llamaCppStrings } from "../helpers/tokenizers.ts";

const place = Deno.makeTempDirSync({ prefix: "export_" });
globalThis.addEventListener("unload", () => Deno.removeSync(place, { recursive: true }));

function tokenizerOf(source: ModelSource): Tokenizer {
  const found = source.tokenizer();
  return found.kind === "json" ? tokenizerFromJson(found.files) : tokenizerFromGguf(found.metadata, found.source);
}

/** What must survive: GGUF says "llama" for Mistral, has no window there, and knows Llama 3's scaling as factors. */
function comparable(config: ModelConfig) {
  const { name: _, architecture, rope, ropeLocal, slidingWindow, layerTypes, ...rest } = config;
  const isLlama = architecture === "mistral" || architecture === "llama";
  return {
    ...rest,
    architecture: isLlama ? "llama" : architecture,
    theta: [rope.theta, architecture === "gemma3" ? ropeLocal.theta : 0],
    sliding: architecture === "gemma3" ? [slidingWindow, layerTypes] : [],
  };
}

function assertSameTokens(found: Tokenizer, expected: Tokenizer, what: string) {
  assert.equal(found.bosId, expected.bosId, what);
  assert.equal(found.addBos, expected.addBos, what);
  assert.equal(found.eosIds[0], expected.eosIds[0], what);
  for (const { text } of llamaCppStrings) {
    assert.deepEqual(found.encode(text), expected.encode(text), `${what}: ${JSON.stringify(text)}`);
  }
}

/** What is left of values stored as `dtype`. */
const roundTrip = {
  F32: (x: Float32Array) => x,
  F16: (x: Float32Array) => f16ToF32(f32ToF16(x)),
  BF16: (x: Float32Array) => bf16ToF32(f32ToBf16(x)),
  Q8_0: (x: Float32Array) => toFloat32(encodeQ8_0(x), { dtype: "Q8_0", count: x.length }),
};

for (const name of goldenModels) {
  const folder = makeTinyFolder(name, place);

  Deno.test(`exportGguf() writes the merged ${name} so that it reads back as it was, in every type`, () => {
    const source = openModel(folder), adapter = goldenAdapter(name), merged = mergedModel(source, adapter);
    for (const dtype of ["F32", "F16", "BF16", "Q8_0"] as const) {
      const path = `${place}/${name}.${dtype}.gguf`;
      exportGguf(path, { source, adapter, dtype, name: "tuned" });
      const bytes = openFile(path), file = openGguf(bytes), back = openModel(path);
      assert.deepEqual(comparable(back.config), comparable(source.config));
      assert.equal(back.config.name, "tuned");
      assert.equal(back.chatTemplate, source.chatTemplate);
      for (const { name: tensor, gguf, shape, interleavedInGguf } of source.tensors) {
        const stored = shape.length === 1 ? "F32" : dtype;
        assert.equal(file.tensors.get(gguf)?.dtype, stored, gguf);
        let expected = merged.float32(tensor), found = back.float32(tensor);
        if (dtype === "Q8_0" && interleavedInGguf && shape.length === 2) {
          // Blocks lie within rows, so that reordering rows and quantising may be swapped.
          expected = reorderHeads(expected, { headDim: source.config.headDim, width: shape[1], interleave: true });
          found = reorderHeads(found, { headDim: source.config.headDim, width: shape[1], interleave: true });
        }
        // The model source rounds numbers of block formats to half precision.
        const kept = roundTrip[stored](expected);
        assert.deepEqual(found, stored === "Q8_0" ? roundTrip.F16(kept) : kept, `${tensor} ${dtype}`);
      }
      assertSameTokens(tokenizerOf(back), tokenizerOf(source), `${name} ${dtype}`);
      assert.equal((file.metadata.get("tokenizer.ggml.tokens") as string[]).length, tinyVocabulary);
      bytes.close();
      back.close();
    }
    source.close();
  });

  Deno.test(`exportGguf() of a GGUF of ${name} copies what it does not change`, () => {
    const source = openModel(folder), first = `${place}/${name}.first.gguf`, second = `${place}/${name}.second.gguf`;
    exportGguf(first, { source, adapter: null, dtype: "F32" });
    const again = openModel(first);
    exportGguf(second, { source: again, adapter: null, dtype: "F32" });
    assert.deepEqual(readGguf(second), readGguf(first));
    exportGguf(second, { source: again, adapter: null, dtype: "BF16", chatTemplate: null, name: "other" });
    const changed = readGguf(second);
    assert.equal(changed.metadata["general.file_type"], 32);
    assert.equal(changed.metadata["general.name"], "other");
    assert.equal("tokenizer.chat_template" in changed.metadata, false);
    source.close();
    again.close();
  });

  Deno.test(`exportMergedFolder() writes the merged ${name} from a folder and from GGUF, and both read back alike`, () => {
    const source = openModel(folder), adapter = goldenAdapter(name), merged = mergedModel(source, adapter);
    const gguf = `${place}/${name}.base.gguf`;
    exportGguf(gguf, { source, adapter: null, dtype: "F32" });
    const bases = [source, openModel(gguf)];
    if (name === "llama3") {
      // Its scaling is tuned to 16 positions, of which a list of factors says nothing.
      const options = { source: bases.pop()!, adapter, dtype: "F32" } as const;
      assert.throws(() => exportMergedFolder(`${place}/none`, options), /its factors are not Llama 3's/);
      assert.throws(() => Deno.statSync(`${place}/none`), Deno.errors.NotFound);
    }
    for (const base of bases) {
      const to = `${place}/${name}.merged.${base.kind}`;
      exportMergedFolder(to, { source: base, adapter, dtype: "F32" });
      const back = openModel(to);
      assert.deepEqual(comparable(back.config), comparable(source.config));
      assert.equal(back.chatTemplate, source.chatTemplate);
      for (const { name: tensor, role } of source.tensors) {
        const expected = merged.float32(tensor);
        // Gemma's norms are stored minus one, which rounds.
        const stored = role === "norm" && source.config.normPlusOne
          ? expected.map((x) => Math.fround(x - 1) + 1)
          : expected;
        assert.deepEqual(back.float32(tensor), stored, tensor);
      }
      assertSameTokens(tokenizerOf(back), tokenizerOf(source), to);
      back.close();
    }
    source.close();
  });
}

function readGguf(path: string) {
  const source = openFile(path), file = openGguf(source);
  const tensors = Array.from(
    file.tensors.values(),
    ({ name, dtype, shape }) => [name, { dtype, shape, bytes: file.bytes(name) }],
  );
  const found = { metadata: Object.fromEntries(file.metadata), tensors: Object.fromEntries(tensors) };
  source.close();
  return found;
}

Deno.test("hfConfig() finds Llama 3.1's and 3.2's scaling behind the factors of a GGUF file", () => {
  const source = openModel(`${place}/llama3`);
  for (const factor of [8, 32]) {
    const llama3 = { type: "llama3", factor, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 } as const;
    const config = { ...source.config, headDim: 128, rope: { theta: 500000, scaling: llama3 } };
    const factors = ropeFactors(config)!;
    assert.equal(factors[0], 1);
    assert.equal(factors.at(-1), factor);
    const scaling = { type: "factors", factors } as const;
    const found = hfConfig({ ...config, rope: { theta: 500000, scaling } }, { dtype: "float16" });
    assert.deepEqual(found.rope_scaling, {
      rope_type: "llama3",
      factor,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
  }
  source.close();
});

Deno.test("exportLoraGguf() writes A as it is, B in GGUF's order of rows, and alpha so that alpha/r is the scale", () => {
  const source = openModel(`${place}/llama3`), adapter = goldenAdapter("llama3"), path = `${place}/lora.gguf`;
  const settings = { ...adapter.settings, use_rslora: true };
  exportLoraGguf(path, { source, adapter: { ...adapter, settings } });
  const file = openFile(path), { metadata, tensors, bytes } = openGguf(file);
  assert.equal(metadata.get("general.type"), "adapter");
  assert.equal(metadata.get("general.architecture"), "llama");
  assert.equal(metadata.get("adapter.type"), "lora");
  assert.equal(metadata.get("adapter.lora.alpha"), 8 / Math.sqrt(4) * 4);
  assert.equal(tensors.size, 2 * 7 * 2);
  const of = (name: string) => adapter.parameters.find((parameter) => parameter.name.endsWith(name))!;
  for (
    const [gguf, name, headDim] of [
      ["blk.1.attn_k.weight.lora_b", "1.self_attn.k_proj.lora_B.weight", 32],
      ["blk.0.attn_q.weight.lora_a", "0.self_attn.q_proj.lora_A.weight", 0],
      ["blk.1.attn_v.weight.lora_b", "1.self_attn.v_proj.lora_B.weight", 0],
      ["blk.0.ffn_down.weight.lora_b", "0.mlp.down_proj.lora_B.weight", 0],
    ] as const
  ) {
    const { value, shape } = of(name), info = tensors.get(gguf)!;
    assert.deepEqual(info.shape, shape, gguf);
    const expected = headDim ? reorderHeads(value, { headDim, width: 4, interleave: true }) : value;
    assert.deepEqual(toFloat32(bytes(gguf), { dtype: "F32", count: elementCount(shape) }), expected, gguf);
  }
  file.close();
  source.close();
});

Deno.test("exportLoraGguf() refuses DoRA and says to merge", () => {
  const source = openModel(`${place}/qwen3`), adapter = goldenAdapter("qwen3");
  const name = adapter.parameters[0].name.replace(/lora_[AB]\.weight/, "lora_magnitude_vector");
  const width = source.tensors.find((tensor) => name.includes(tensor.name.replace(".weight", "")))!.shape[0];
  const parameters = [...adapter.parameters, { name, shape: [width], value: new Float32Array(width) }];
  assert.throws(
    () => exportLoraGguf(`${place}/dora.gguf`, { source, adapter: { ...adapter, parameters } }),
    (error) => error instanceof UserError && /DoRA/.test(error.message) && /merged/.test(error.hint!),
  );
  assert.throws(() => Deno.statSync(`${place}/dora.gguf`), Deno.errors.NotFound);
  source.close();
});

Deno.test("exportGguf() refuses what F16 cannot hold, names the tensor, and leaves no file", () => {
  const source = openModel(`${place}/llama_tied`), adapter = goldenAdapter("llama_tied"), path = `${place}/huge.gguf`;
  const settings = { ...adapter.settings, lora_alpha: 1e9 };
  assert.throws(
    () => exportGguf(path, { source, adapter: { ...adapter, settings }, dtype: "F16" }),
    (error) => error instanceof UserError && /tensor "blk\.0\..*F16 ends at 65504/.test(error.message),
  );
  assert.deepEqual([...Deno.readDirSync(place)].filter(({ name }) => name.startsWith("huge")), []);
  source.close();
});

Deno.test("exportGguf() refuses a cutting rule that llama.cpp has no name for", () => {
  const folder = makeTinyFolderCopy("qwen3", "odd");
  const json = JSON.parse(Deno.readTextFileSync(`${folder}/tokenizer.json`));
  json.pre_tokenizer.pretokenizers[0].pattern.Regex = "\\w+";
  Deno.writeTextFileSync(`${folder}/tokenizer.json`, JSON.stringify(json));
  const source = openModel(folder);
  assert.throws(
    () => exportGguf(`${place}/odd.gguf`, { source, adapter: null, dtype: "F16" }),
    (error) => error instanceof UserError && /cutting rule \["\\\\w\+"\]/.test(error.message),
  );
  source.close();
});

Deno.test("exportGguf() refuses layers that slide without a period", () => {
  const folder = makeTinyFolderCopy("gemma3", "irregular");
  const config = JSON.parse(Deno.readTextFileSync(`${folder}/config.json`));
  config.layer_types = ["full_attention", "sliding_attention", "sliding_attention"];
  Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(config));
  const source = openModel(folder);
  assert.throws(
    () => exportGguf(`${place}/irregular.gguf`, { source, adapter: null, dtype: "F16" }),
    (error) => error instanceof UserError && /no fixed period/.test(error.message),
  );
  source.close();
});

Deno.test("exportGguf() and exportMergedFolder() say where they cannot write", () => {
  const source = openModel(`${place}/qwen2`), file = `${place}/a_file`;
  Deno.writeTextFileSync(file, "");
  const refused = (action: () => void, message: RegExp) =>
    assert.throws(action, (error) => error instanceof UserError && message.test(error.message) && !!error.hint);
  const options = { source, adapter: null, dtype: "F16" } as const;
  refused(() => exportGguf(`${place}/no/folder/x.gguf`, options), /Cannot write .*x\.gguf: no such file or directory/);
  refused(() => exportGguf(place, options), /Cannot write /);
  refused(
    () => exportMergedFolder(`${file}/merged`, options),
    /Cannot make the folder .*merged: part of the path is a/,
  );
  refused(() => exportGguf("/dev/full/x.gguf", options), /Cannot write \/dev\/full/);
  source.close();
});

function makeTinyFolderCopy(name: string, as: string): string {
  const parent = `${place}/${as}`;
  Deno.mkdirSync(parent);
  return makeTinyFolder(name, parent);
}
