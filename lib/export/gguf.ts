/**
 * Writes a model, with or without an adapter merged in, as one GGUF file for llama.cpp, Ollama and their kin.
 *
 * A model that came as GGUF keeps all its metadata; one that came as a Hugging Face folder gets the keys and the
 * tokenizer made from its files. Tensors are merged, reordered and encoded one at a time, and the file appears under its
 * name only when it is whole.
 */
import { openFile } from "../files/file_source.ts";
import { writeAtomic } from "../files/atomic.ts";
import { openGguf } from "../formats/gguf.ts";
import type { TypedValue } from "../formats/gguf_values.ts";
import { writeGguf } from "../formats/gguf_write.ts";
import type { LazyTensor } from "../formats/tensor_file.ts";
import { type ModelTensor, reorderHeads } from "../model/names.ts";
import type { ModelSource } from "../model/source.ts";
import { tokenizerFromJson } from "../text/tokenizer.ts";
import { lazyTensor, type StoredType } from "./encode.ts";
import { fileTypes, type Metadata, modelKeys, ropeFactors, value } from "./gguf_keys.ts";
import { type ExportAdapter, type MergedModel, mergedModel } from "./merge.ts";
import { tokenizerKeys } from "./tokenizer_keys.ts";

export interface GgufExport {
  source: ModelSource;
  /** Merged in; null writes the model as it is. */
  adapter: ExportAdapter | null;
  /** Of matrices; norms and biases are always F32, and rows that are not whole Q8_0 blocks F16. */
  dtype: StoredType;
  /** general.name; by default the model's own. */
  name?: string;
  /** Jinja chat template to store instead of the model's own, which null leaves out. */
  chatTemplate?: string | null;
  /** Called after each tensor. */
  progress?: (done: number, total: number) => void;
}

/** Writes the file. UserError when the model cannot be said in GGUF, or the file cannot be written. */
export function exportGguf(path: string, options: GgufExport): void {
  const model = mergedModel(options.source, options.adapter);
  const tensors = ggufTensors(model, options);
  writeAtomic(path, writeGguf(ggufMetadata(options), tensors));
}

/** All metadata of the file to write. */
export function ggufMetadata(options: Omit<GgufExport, "adapter" | "progress">): Metadata {
  const { source, dtype } = options;
  const chatTemplate = options.chatTemplate === undefined ? source.chatTemplate : options.chatTemplate;
  const name = options.name ?? source.config.name;
  if (source.kind === "gguf") return copiedMetadata(source.path, { dtype, name, chatTemplate });
  const found = source.tokenizer();
  if (found.kind !== "json") throw new Error("a folder's tokenizer comes from tokenizer.json");
  return [
    ...modelKeys(source.config, { dtype, name }),
    ...tokenizerKeys({
      tokenizerJson: found.files.tokenizerJson,
      tokenizer: tokenizerFromJson(found.files),
      vocabSize: source.config.vocabSize,
      chatTemplate,
      source: source.path,
    }),
  ];
}

/** The metadata of another GGUF file, with what is no longer true of it changed or left out. */
function copiedMetadata(
  path: string,
  { dtype, name, chatTemplate }: { dtype: StoredType; name: string; chatTemplate: string | null },
): Metadata {
  const changed = new Map<string, TypedValue | null>([
    ["general.name", value("string", name)],
    ["general.file_type", value("uint32", fileTypes[dtype])],
    ["general.quantization_version", value("uint32", 2)],
    ["tokenizer.chat_template", chatTemplate === null ? null : value("string", chatTemplate)],
  ]);
  const source = openFile(path);
  try {
    const { metadata, types } = openGguf(source);
    // Facts of the file it came from: how it was cut into parts, and how its quantisation was measured.
    const kept = [...metadata].filter(([key]) => !changed.has(key) && !/^(split|quantize)\./.test(key));
    const added = [...changed].flatMap(([key, value]): Metadata => value ? [[key, value]] : []);
    return [...kept.map(([key, found]): Metadata[number] => [key, { type: types.get(key)!, value: found }]), ...added];
  } finally {
    source.close();
  }
}

/** The file's tensors, in the order of a forward pass. */
export function ggufTensors(
  model: MergedModel,
  { dtype, progress }: { dtype: StoredType; progress?: (done: number, total: number) => void },
): LazyTensor[] {
  const { config, tensors } = model;
  const factors = ropeFactors(config);
  const rope = factors
    ? [lazyTensor({ name: "rope_freqs.weight", shape: [factors.length], dtype: "F32" }, () => factors)]
    : [];
  return [
    ...rope,
    ...tensors.map((tensor, i) => {
      const about = { name: tensor.gguf, shape: tensor.shape, dtype: storedType(tensor, dtype) };
      return lazyTensor(about, () => {
        progress?.(i + 1, tensors.length);
        const x = model.float32(tensor.name);
        if (!tensor.interleavedInGguf) return x;
        return reorderHeads(x, { headDim: config.headDim, width: tensor.shape[1] ?? 1, interleave: true });
      });
    }),
  ];
}

function storedType(tensor: ModelTensor, dtype: StoredType): StoredType {
  if (tensor.shape.length === 1) return "F32";
  return dtype === "Q8_0" && tensor.shape[1] % 32 !== 0 ? "F16" : dtype;
}
