/**
 * Loading of a bitsandbytes 4-bit checkpoint of the Llama 3.1 8B shape, with a small vocabulary and as many layers as are
 * asked for, made here with random codes: milliseconds of each tensor, and memory beside what is kept.
 *
 *   deno run -A tests/bench/load_bnb4.ts [layers, 4] [own | dequantised, own]
 *
 * "own": projections keep their codes, as for training and answers. "dequantised": every one is written out, as export
 * does. The file is in the cache of the system when it is read.
 */
import { writeAtomic } from "../../lib/files/atomic.ts";
import { type LazyTensor, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { hfConfig } from "../../lib/export/hf_config.ts";
import { modelTensors } from "../../lib/model/names.ts";
import { openModel } from "../../lib/model/source.ts";
import { signedMap } from "../../lib/quant/double_quant.ts";
import { nf4Codebook } from "../../lib/quant/nf4.ts";
import { llama8b } from "../helpers/llama8b.ts";

const [layers = "4", mode = "own"] = Deno.args;
const config = { ...llama8b, layers: Number(layers), vocabSize: 128, bosTokenId: null, eosTokenIds: [] };
const folder = Deno.makeTempDirSync();
const MB = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

try {
  const random = crypto.getRandomValues(new Uint8Array(65_536));
  const bytes = (count: number) => {
    const out = new Uint8Array(count);
    for (let at = 0; at < count; at += random.length) {
      out.set(random.subarray(0, Math.min(random.length, count - at)), at);
    }
    return out;
  };
  const floats = (data: Float32Array) => new Uint8Array(data.slice().buffer);
  const lazy = (name: string, dtype: string, shape: number[], data: () => Uint8Array): LazyTensor => {
    const size = { U8: 1, BF16: 2, F32: 4 }[dtype]!;
    return { name, dtype, shape, byteLength: size * shape.reduce((a, b) => a * b, 1), data };
  };
  const tensors = modelTensors(config).flatMap(({ name, role, shape }): LazyTensor[] => {
    const count = shape.reduce((a, b) => a * b, 1), blocks = count / 64;
    if (role !== "linear") return [lazy(name, "BF16", shape, () => new Uint8Array(2 * count))];
    const state = new TextEncoder().encode(JSON.stringify({
      ...{ quant_type: "nf4", blocksize: 64, dtype: "bfloat16", shape },
      ...{ nested_blocksize: 256, nested_dtype: "float32", nested_offset: 0.05 },
    }));
    return [
      lazy(name, "U8", [count / 2, 1], () => bytes(count / 2)),
      lazy(`${name}.absmax`, "U8", [blocks], () => bytes(blocks)),
      lazy(`${name}.quant_map`, "F32", [16], () => floats(nf4Codebook)),
      lazy(`${name}.nested_absmax`, "F32", [blocks / 256], () => floats(new Float32Array(blocks / 256).fill(0.02))),
      lazy(`${name}.nested_quant_map`, "F32", [256], () => floats(signedMap)),
      lazy(`${name}.quant_state.bitsandbytes__nf4`, "U8", [state.length], () => state),
    ];
  });
  writeAtomic(`${folder}/model.safetensors`, writeSafetensors(tensors));
  const json = { ...hfConfig(config, { dtype: "bfloat16" }), quantization_config: { quant_method: "bitsandbytes" } };
  Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(json));

  const before = Deno.memoryUsage().rss, opening = performance.now(), source = openModel(folder);
  console.log(`opened in ${(performance.now() - opening).toFixed(0)} ms`);
  const kept: unknown[] = [], times = new Map<string, number[]>();
  let keptBytes = 0, most = 0;
  for (const { name, key, role } of source.tensors) {
    if (role !== "linear") continue;
    const start = performance.now();
    if (mode === "own") {
      const weight = source.nf4(name);
      kept.push(weight);
      keptBytes += weight.packed.length * 33 / 32;
    } else source.float32(name);
    times.set(key, [...times.get(key) ?? [], performance.now() - start]);
    most = Math.max(most, Deno.memoryUsage().rss);
  }
  for (const [key, all] of times) {
    console.log(`${key.padEnd(10)} ${all.sort((a, b) => a - b)[all.length >> 1].toFixed(1)} ms`);
  }
  console.log(`kept ${MB(keptBytes)} in ${kept.length} weights, memory grew by ${MB(most - before)} at most`);
  source.close();
} finally {
  Deno.removeSync(folder, { recursive: true });
}
