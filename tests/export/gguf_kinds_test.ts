// The quantised kinds of GGUF: the types of every tensor and the bytes of every block are those of llama.cpp's quantiser.
import assert from "node:assert/strict";
import { exportGguf } from "../../lib/export/gguf.ts";
import { type GgufKind, ggufKinds, storedType } from "../../lib/export/gguf_kinds.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { ggmlTypes } from "../../lib/formats/ggml_types.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { elementCount } from "../../lib/formats/tensor_file.ts";
import type { ModelConfig } from "../../lib/model/config.ts";
import { modelTensors } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import { differences } from "../helpers/golden.ts";
import { llamaCppMissing, llamaCppQuantize } from "../helpers/llama_cpp.ts";
import { llama8b } from "../helpers/llama8b.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { makeSizedFolder } from "../helpers/tiny_folders.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`gguf_kinds_test: ${missing}`);

const quantised = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"] as const satisfies GgufKind[];

/** Models that together meet every rule: head or none, rows of whole blocks of 256, of 32 only, and of neither. */
const models: Record<string, { family: string; sizes: Record<string, number | boolean> }> = {
  untied: { family: "llama3", sizes: { ...sizesOf(256), intermediate_size: 512, num_hidden_layers: 9 } },
  tied: { family: "qwen3", sizes: { ...sizesOf(256), intermediate_size: 288, num_hidden_layers: 3 } },
  narrow: { family: "llama_tied", sizes: { ...sizesOf(96), intermediate_size: 256, num_hidden_layers: 4 } },
  odd: { family: "gemma3", sizes: { ...sizesOf(64), intermediate_size: 72 } },
};

function sizesOf(hidden: number) {
  return { hidden_size: hidden, num_attention_heads: 2, num_key_value_heads: 1, head_dim: hidden / 2 };
}

function readGguf(path: string) {
  const source = openFile(path), file = openGguf(source);
  const tensors = new Map(
    Array.from(file.tensors.values(), ({ name, dtype }) => [name, { dtype, bytes: file.bytes(name) }]),
  );
  source.close();
  return { metadata: file.metadata, tensors };
}

/** Types that each model is there for: that the test meets them. */
const met: Record<string, string[]> = {
  untied: ["Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q8_0"],
  tied: ["Q4_K", "Q5_0", "Q5_1"],
  narrow: ["Q5_0", "Q5_1", "Q8_0", "Q6_K"],
  odd: ["F16", "Q5_0"],
};

for (const [name, { family, sizes }] of Object.entries(models)) {
  Deno.test({
    name: `exportGguf() writes the ${name} model of every kind byte for byte as llama.cpp's quantiser does`,
    ignore: missing !== null,
    fn: () =>
      inTempFolder(async (dir) => {
        const source = openModel(makeSizedFolder(family, { parent: dir, name, sizes })), types = new Set<string>();
        exportGguf(`${dir}/f16.gguf`, { source, adapter: null, dtype: "F16" });
        const theirs = (dtype: GgufKind) => `${dir}/theirs.${dtype}.gguf`;
        await llamaCppQuantize(
          `${dir}/f16.gguf`,
          quantised.map((dtype) => ({ path: theirs(dtype), fileType: ggufKinds[dtype].fileType })),
        );
        for (const dtype of quantised) {
          exportGguf(`${dir}/ours.gguf`, { source, adapter: null, dtype });
          const found = readGguf(`${dir}/ours.gguf`), expected = readGguf(theirs(dtype));
          assert.deepEqual(new Map([...found.metadata].sort()), new Map([...expected.metadata].sort()));
          assert.deepEqual([...found.tensors.keys()].sort(), [...expected.tensors.keys()].sort());
          for (const [tensor, { dtype: type, bytes }] of expected.tensors) {
            assert.equal(found.tensors.get(tensor)!.dtype, type, `${dtype} ${tensor}`);
            assert.equal(differences(found.tensors.get(tensor)!.bytes, bytes), 0, `${dtype} ${tensor} ${type}`);
            types.add(type);
          }
        }
        source.close();
        for (const type of met[name]) assert.ok(types.has(type), `${name} is to meet ${type}, and has ${[...types]}`);
      }),
  });
}

Deno.test("every kind reads back as the model it was, within what its bits can say", async () => {
  await inTempFolder((dir) => {
    const sizes = { ...sizesOf(256), intermediate_size: 256, num_hidden_layers: 2 };
    const source = openModel(makeSizedFolder("llama3", { parent: dir, name: "m", sizes }));
    // Half a step of 4, 5 and 6 bits, uniform, over the deviation of the uniform weights; 0 for what stays F16 or F32.
    const limits = { Q8_0: 1 / 256, Q6_K: 1 / 60, Q5_K_M: 1 / 30, Q4_K_M: 1 / 15, Q4_0: 1 / 14 };
    for (const dtype of quantised) {
      exportGguf(`${dir}/m.gguf`, { source, adapter: null, dtype });
      const back = openModel(`${dir}/m.gguf`);
      for (const { name, shape } of source.tensors) {
        const before = source.float32(name), after = back.float32(name);
        const error = rms(before.map((x, i) => x - after[i])) / rms(before);
        const limit = shape.length === 1 ? 0 : limits[dtype];
        assert.ok(error <= limit, `${dtype} ${name}: relative error ${error}, limit ${limit}`);
      }
      back.close();
    }
    source.close();
  });
});

const rms = (x: Float32Array) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length);

/** Bytes of all tensors of a model as a kind. */
function bytesOf(kind: GgufKind, config: ModelConfig): number {
  return modelTensors(config).reduce((sum, tensor) => {
    const { block, bytes } = ggmlTypes[storedType(tensor, { kind, config })];
    return sum + elementCount(tensor.shape) / block * bytes;
  }, 0);
}

Deno.test("storedType() makes Llama 3 8B as large as llama.cpp says of each kind", () => {
  // GiB as llama-quantize --help lists them, rounded there.
  const expected = { Q4_0: 4.34, Q4_K_M: 4.58, Q5_K_M: 5.33, Q6_K: 6.14, Q8_0: 7.96 };
  for (const [kind, size] of Object.entries(expected)) {
    const found = bytesOf(kind as GgufKind, llama8b) / 2 ** 30;
    assert.ok(Math.abs(found - size) < 0.02, `${kind}: ${found} GiB`);
  }
});

Deno.test("storedType() gives the shared values of 70B models more bits", () => {
  const config = { ...llama8b, hiddenSize: 8192, intermediateSize: 28672, layers: 80, heads: 64 };
  const typesOf = (config: ModelConfig, key: string) =>
    modelTensors(config).filter((tensor) => tensor.key === key).map((tensor) =>
      storedType(tensor, { kind: "Q4_K_M", config })
    );
  assert.deepEqual(new Set(typesOf(config, "v_proj")), new Set(["Q6_K", "Q5_K"]));
  assert.deepEqual(new Set(typesOf({ ...config, layers: 79 }, "v_proj")), new Set(["Q6_K", "Q4_K"]));
  assert.deepEqual(new Set(typesOf({ ...config, kvHeads: 64 }, "v_proj")), new Set(["Q6_K", "Q4_K"]));
  assert.deepEqual(typesOf(config, "lm_head"), ["Q6_K"]);
});
