/**
 * Checkpoints of real shapes with random weights, as folders that `ftl train` takes: config.json, BF16 safetensors in
 * shards, and a small tokenizer. Speed and memory depend on shapes alone, so that these stand in for the files of
 * models of any size.
 */
import { mkdirSync } from "node:fs";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { modelTensors } from "../../lib/model/names.ts";
import { writeSafetensors } from "../../lib/formats/safetensors.ts";
import { rebuildTokenizer } from "../../lib/text/gguf_tokenizer.ts";
import { chatMl, tinyBpeMetadata } from "./tokenizers.ts";

/** V, D, F, L, H, G of a shape, and what else its config.json says. */
function shape(
  [vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads]: number[],
  rest: { tie_word_embeddings?: boolean; model_type?: string; head_dim?: number } = {},
) {
  return {
    ...{ vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads },
    ...{ model_type: "llama", tie_word_embeddings: false, ...rest },
  };
}

const tied = { tie_word_embeddings: true };

export const shapes: Record<string, ReturnType<typeof shape>> = {
  "a seventh of smollm2-135m": shape([8192, 576, 1536, 4, 9, 3], tied),
  "smollm2-135m": shape([49152, 576, 1536, 30, 9, 3], tied),
  "smollm2-360m": shape([49152, 960, 2560, 32, 15, 5], tied),
  "qwen2.5-0.5b": shape([151936, 896, 4864, 24, 14, 2], { ...tied, model_type: "qwen2" }),
  "tinyllama-1.1b": shape([32000, 2048, 5632, 22, 32, 4]),
  "llama-3.2-1b": shape([128256, 2048, 8192, 16, 32, 8], tied),
  "llama-3.2-3b": shape([128256, 3072, 8192, 28, 24, 8], { ...tied, head_dim: 128 }),
  "mistral-7b": shape([32768, 4096, 14336, 32, 32, 8], { model_type: "mistral" }),
  "llama-2-7b": shape([32000, 4096, 11008, 32, 32, 32]),
  "llama-3.1-8b": shape([128256, 4096, 14336, 32, 32, 8]),
};

/** About the size at which real checkpoints are cut. */
const shardBytes = 4.5e9;

/** Writes the checkpoint of a shape into a new folder. */
export function writeRandomCheckpoint(name: string, folder: string): void {
  const json = { ...shapes[name], rms_norm_eps: 1e-5, max_position_embeddings: 4096, sliding_window: null };
  mkdirSync(folder);
  const write = (file: string, value: unknown) => Deno.writeTextFileSync(`${folder}/${file}`, JSON.stringify(value));
  write("config.json", { ...json, bos_token_id: 1, eos_token_id: 2 });
  const { whole, tokens } = rebuildTokenizer(tinyBpeMetadata({ pre: "llama-bpe" }), name), tokenizer = whole();
  write("tokenizer.json", tokenizer);
  write("tokenizer_config.json", { bos_token: tokens[1], eos_token: tokens[2], chat_template: chatMl });

  const random = randomBf16(1 << 22);
  const tensors = modelTensors(configFromHf(json, { source: name })).map(({ name, shape, role }, i) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const data = () => role === "norm" ? ones(count) : tiled(random, { count, from: (i * 9973) % 65536 });
    return { name, dtype: "BF16", shape, byteLength: 2 * count, data };
  });
  const shards: typeof tensors[] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes + tensor.byteLength > shardBytes) [bytes] = [0, shards.push([])];
    bytes += tensor.byteLength;
    shards[shards.length - 1].push(tensor);
  }
  const weightMap: Record<string, string> = {};
  shards.forEach((list, i) => {
    const number = (n: number) => String(n).padStart(5, "0");
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    for (const { name } of list) weightMap[name] = file;
    const out = Deno.openSync(`${folder}/${file}`, { write: true, createNew: true });
    for (const chunk of writeSafetensors(list)) {
      for (let n = 0; n < chunk.length;) n += out.writeSync(chunk.subarray(n));
    }
    out.close();
  });
  write("model.safetensors.index.json", { weight_map: weightMap });
}

/** Numbers of deviation 0.02, the sum of four uniform ones each, as bfloat16 (cut, not rounded). */
function randomBf16(count: number): Uint16Array<ArrayBuffer> {
  let state = 1;
  const uniform = () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) / 2 ** 32 - 0.5;
  const floats = Float32Array.from({ length: count }, () => 0.035 * (uniform() + uniform() + uniform() + uniform()));
  return Uint16Array.from(new Uint32Array(floats.buffer), (bits) => bits >>> 16);
}

function tiled(values: Uint16Array, { count, from }: { count: number; from: number }): Uint8Array {
  const out = new Uint16Array(count);
  for (let at = 0, start = from; at < count; start = 0) {
    const piece = values.subarray(start, start + count - at);
    out.set(piece, at);
    at += piece.length;
  }
  return new Uint8Array(out.buffer);
}

function ones(count: number): Uint8Array {
  return new Uint8Array(new Uint16Array(count).fill(0x3f80).buffer);
}

if (import.meta.main) {
  const [name, folder] = Deno.args;
  if (!Object.hasOwn(shapes, name) || !folder) {
    console.error(`random_checkpoint.ts SHAPE FOLDER, SHAPE being ${Object.keys(shapes).join(", ")}`);
    Deno.exit(2);
  }
  writeRandomCheckpoint(name, folder);
}
