/**
 * Writes a model, with or without an adapter merged in, as GGUF for llama.cpp, Ollama and their kin: one file, or parts
 * of a size that the user sets.
 *
 * A model that came as GGUF keeps all its metadata; one that came as a Hugging Face folder gets the keys and the
 * tokenizer made from its files. Tensors are merged in f32, reordered and quantised once, one at a time, and the files
 * appear under their names only when all of them are whole.
 */
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import { openFile } from "../files/file_source.ts";
import { removeFile, writeAllAtomic } from "../files/atomic.ts";
import { requireSpace } from "../files/space.ts";
import { openGguf } from "../formats/gguf.ts";
import { maxParts, parsePartPath, partKeys, partPath } from "../formats/gguf_parts.ts";
import { defaultAlignment, type TypedValue } from "../formats/gguf_values.ts";
import { writeGguf } from "../formats/gguf_write.ts";
import type { LazyTensor } from "../formats/tensor_file.ts";
import { reorderHeads } from "../model/names.ts";
import type { ModelSource } from "../model/source.ts";
import { tokenizerFromJson } from "../text/tokenizer.ts";
import { lazyTensor } from "./encode.ts";
import { kindKeys, type Metadata, modelKeys, ropeFactors, value } from "./gguf_keys.ts";
import { type GgufKind, storedType } from "./gguf_kinds.ts";
import { type ExportAdapter, type MergedModel, mergedModel } from "./merge.ts";
import { tokenizerKeys } from "./tokenizer_keys.ts";

/** What to do where an export does not fit. */
export const spaceHint = "Free some space, choose a smaller kind (--to), or a folder on another disk (--output).";

export interface GgufExport {
  source: ModelSource;
  /** Merged in; null writes the model as it is. */
  adapter: ExportAdapter | null;
  /** What llama.cpp calls the whole file; gguf_kinds.ts says what each tensor becomes. */
  dtype: GgufKind;
  /** general.name; by default the model's own. */
  name?: string;
  /** Jinja chat template to store instead of the model's own, which null leaves out. */
  chatTemplate?: string | null;
  /** Bytes of tensors that a file may hold, before the model is cut into parts. A tensor is never cut. */
  maxBytes?: number;
  /** Called after each tensor. */
  progress?: (done: number, total: number) => void;
}

/**
 * Writes the file, or where `maxBytes` is too little for one the parts of `path`; returns the paths. Then removes parts
 * of the same name that an earlier export with another number of parts left. UserError when the model cannot be said in
 * GGUF, or a file cannot be written.
 */
export function exportGguf(path: string, options: GgufExport): string[] {
  const tensors = ggufTensors(mergedModel(options.source, options.adapter), options);
  const metadata = ggufMetadata(options), parts = cutAt(options.maxBytes ?? Infinity, tensors), count = parts.length;
  if (count > maxParts) {
    throw new UserError(`Cannot cut ${options.source.config.name} into ${count} parts: ${maxParts} can be named`, {
      hint: "Allow larger files.",
    });
  }
  const files = parts.map((part, no) => {
    const keys = count === 1 ? metadata : [
      ...(no === 0 ? metadata : []),
      ...partKeys({ no, count, tensors: tensors.length }),
    ];
    const name = count === 1 ? path : partPath(path.replace(/\.gguf$/, ""), { no, count });
    return { path: name, chunks: writeGguf(keys, part) };
  });
  const bytes = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  requireSpace(dirname(path), { bytes, what: `A ${options.dtype} GGUF`, hint: spaceHint });
  writeAllAtomic(files);
  for (const stale of otherParts(path, count)) removeFile(stale);
  return files.map(({ path }) => path);
}

/** Parts of a model called `path` that was cut into another number of them than `count`. */
function otherParts(path: string, count: number): string[] {
  const folder = dirname(path), prefix = basename(path, ".gguf");
  return Array.from(Deno.readDirSync(folder), ({ name }) => name).filter((name) => {
    const part = parsePartPath(name);
    return part?.prefix === prefix && part.count !== count;
  }).map((name) => join(folder, name));
}

/** The tensors in parts of at most `limit` bytes each, as gguf-split --split-max-size cuts them. */
function cutAt(limit: number, tensors: LazyTensor[]): LazyTensor[][] {
  const parts: LazyTensor[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const more = Math.ceil(tensor.byteLength / defaultAlignment) * defaultAlignment;
    if (bytes + more > limit && bytes > 0) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(tensor);
    bytes += more;
  }
  return parts;
}

/** All metadata of the file to write. */
export function ggufMetadata(options: Pick<GgufExport, "source" | "dtype" | "name" | "chatTemplate">): Metadata {
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
  { dtype, name, chatTemplate }: { dtype: GgufKind; name: string; chatTemplate: string | null },
): Metadata {
  const changed = new Map<string, TypedValue | null>([
    ["general.name", value("string", name)],
    ...kindKeys(dtype),
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
  { dtype, progress }: { dtype: GgufKind; progress?: (done: number, total: number) => void },
): LazyTensor[] {
  const { config, tensors } = model;
  const factors = ropeFactors(config);
  const rope = factors
    ? [lazyTensor({ name: "rope_freqs.weight", shape: [factors.length], dtype: "F32" }, () => factors)]
    : [];
  return [
    ...rope,
    ...tensors.map((tensor, i) => {
      const about = { name: tensor.gguf, shape: tensor.shape, dtype: storedType(tensor, { kind: dtype, config }) };
      return lazyTensor(about, () => {
        progress?.(i + 1, tensors.length);
        const x = model.float32(tensor.name);
        if (!tensor.interleavedInGguf) return x;
        return reorderHeads(x, { headDim: config.headDim, width: tensor.shape[1] ?? 1, interleave: true });
      });
    }),
  ];
}
