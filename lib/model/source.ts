/**
 * A model on disk, whatever its format: configuration, and weights one tensor at a time by Hugging Face name, as they
 * are meant in memory (row-major f32, q and k with the halves of a head apart, norms as the full factor).
 *
 * Opening reads headers only, and checks every tensor's name and shape against the configuration. Nothing keeps more
 * than the tensor asked for. Numbers of GGUF's block formats are rounded to float16 on the way, so that they are the
 * numbers which transformers gets from the same file.
 */
import { createHash } from "node:crypto";
import { nearest, UserError } from "../errors.ts";
import { f16ToF32, f32ToF16 } from "../formats/float16.ts";
import { elementCount } from "../formats/tensor_file.ts";
import { type Bnb4Weight, bnb4Weights, dequantizeBnb4, isBnb4Part, isOwnNf4, ownNf4 } from "../quant/bnb4.ts";
import { asU16, blockTypes, decodableTypes, toFloat32 } from "../quant/decode.ts";
import type { QuantizedWeight } from "../quant/double_quant.ts";
import { halfToF32, type HalfWeight } from "../quant/half.ts";
import type { ModelConfig } from "./config.ts";
import { openGgufFiles } from "./gguf_files.ts";
import {
  folderChatTemplate,
  kindOfPath,
  openFolderTensors,
  type OpenTensors,
  readGenerationConfig,
  readJson,
  type TokenizerFiles,
  tokenizerFiles,
} from "./model_files.ts";
import { type ModelTensor, modelTensors, reorderHeads } from "./names.ts";
import { configFromHf } from "./parse_config.ts";
import { configFromGguf } from "./parse_gguf_config.ts";

export type TokenizerSource =
  | { kind: "json"; files: TokenizerFiles }
  | { kind: "gguf"; metadata: Map<string, unknown>; source: string };

export interface ModelSource {
  readonly kind: "safetensors" | "gguf";
  /** As it was given. */
  readonly path: string;
  readonly config: ModelConfig;
  /** The model's tensors in the order of a forward pass. */
  readonly tensors: ModelTensor[];
  /** The model's own chat template, or null. */
  readonly chatTemplate: string | null;
  /**
   * A tensor by Hugging Face name as f32, row-major, in memory's convention. UserError when it holds NaN or infinity,
   * with the element's index, or is of a type that is not read.
   */
  float32(name: string): Float32Array;
  /**
   * What becomes of a projection in 4 bits: "own": it is stored in NF4, to be taken as it is by nf4(); "never": a 4-bit
   * checkpoint leaves it in 16 bits (llm_int8_skip_modules), since quantising it would spoil the model; "quantise": all
   * others. From headers alone.
   */
  fourBit(name: string): "own" | "never" | "quantise";
  /** Codes and block maxima of a projection that is stored in NF4. */
  nf4(name: string): QuantizedWeight;
  /**
   * The same numbers in 16 bits, where that loses nothing: stored as F16 or BF16, or in GGUF's block formats. Of the
   * embedding and the head alone. Undefined for other precisions.
   */
  half(name: string): HalfWeight | undefined;
  /** How the file stores a tensor: "BF16", "Q4_1", "NF4". */
  precision(name: string): string;
  /** A tensor's bytes as the file stores them: its own precision and its own order of rows. */
  bytesOf(name: string): Uint8Array;
  /** What makes the tokenizer. UserError when the model has none. */
  tokenizer(): TokenizerSource;
  /** Changes when the files do: names, sizes, times of change, and a digest of the headers. */
  fingerprint(): string;
  close(): void;
}

/**
 * Opens a folder with config.json and safetensors, or a GGUF file (or the first of its parts). UserError for everything
 * that cannot be used.
 */
export function openModel(path: string): ModelSource {
  const kind = kindOfPath(path);
  if (kind === "nothing") {
    throw new UserError(`Cannot open model ${path}: no such file or directory`, {
      hint: "give a folder with config.json and model.safetensors, or a .gguf file",
    });
  }
  if (kind === "folder") return openFolder(path);
  if (/\.(bin|pt|pth|ckpt)$/i.test(path)) {
    throw new UserError(`Cannot open model ${path}: pickled PyTorch weights are not read`, {
      hint: "such files may run programs: take the model in safetensors or GGUF",
    });
  }
  if (/\.(safetensors|json)$/i.test(path)) {
    throw new UserError(`Cannot open model ${path}: it is one file of a model`, { hint: "give the folder it is in" });
  }
  return openGgufModel(path);
}

function openFolder(path: string): ModelSource {
  const folder = path.replace(/(?<=.)\/+$/, "");
  const configPath = `${folder}/config.json`;
  const readConfig = () =>
    configFromHf(readJson(configPath), {
      source: configPath,
      name: folderName(folder),
      generationConfig: readGenerationConfig(folder),
    });
  // What the configuration rules out is said before the weights are looked for, whose names may be as foreign.
  const known = kindOfPath(configPath) === "file" ? readConfig() : undefined;
  const file = openFolderTensors(folder);
  try {
    const config = known ?? readConfig();
    return makeSource(file, {
      kind: "safetensors",
      path,
      config,
      chatTemplate: folderChatTemplate(folder),
      tokenizer: () => ({ kind: "json", files: tokenizerFiles(folder) }),
    });
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A folder's own name; in Hugging Face's cache, where that is a commit, the repository's. */
function folderName(folder: string): string {
  const cached = /(?:^|\/)models--(?:[^/]+?--)?([^/]+)\/snapshots\/[0-9a-f]{40}$/.exec(folder);
  return cached ? cached[1] : folder.slice(folder.lastIndexOf("/") + 1);
}

function openGgufModel(path: string): ModelSource {
  const file = openGgufFiles(path);
  try {
    const factors = file.tensors.get("rope_freqs.weight");
    const config = configFromGguf(file.metadata, {
      source: path,
      tensors: file.tensors,
      ropeFactors: factors && toFloat32(file.bytes(factors.name), {
        dtype: factors.dtype,
        count: elementCount(factors.shape),
        name: factors.name,
      }),
    });
    const template = file.metadata.get("tokenizer.chat_template");
    return makeSource(file, {
      kind: "gguf",
      path,
      config,
      chatTemplate: typeof template === "string" ? template : null,
      tokenizer() {
        if (!file.metadata.has("tokenizer.ggml.tokens")) {
          throw new UserError(`Cannot find the tokenizer: ${path} has no tokenizer.ggml.tokens`, {
            hint: "use a GGUF file of the whole model, with its vocabulary",
          });
        }
        return { kind: "gguf", metadata: file.metadata, source: path };
      },
    });
  } catch (error) {
    file.close();
    throw error;
  }
}

function makeSource(
  file: OpenTensors,
  about: Pick<ModelSource, "kind" | "path" | "config" | "chatTemplate" | "tokenizer">,
): ModelSource {
  const { kind, config } = about;
  const tensors = modelTensors(config);
  const storedName = (tensor: ModelTensor) => kind === "gguf" ? tensor.gguf : tensor.name;
  const fourBit = bnb4Weights(file);
  checkTensors(file, { kind, config, fourBit, tensors: tensors.map((t) => ({ name: storedName(t), shape: t.shape })) });
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));

  function find(name: string): ModelTensor {
    const tensor = byName.get(name);
    if (!tensor) throw new Error(`no tensor "${name}" in a model of ${config.architecture}`);
    return tensor;
  }

  function float32(name: string): Float32Array {
    const tensor = find(name), stored = storedName(tensor), { dtype } = file.tensors.get(stored)!;
    const own = fourBit.get(stored);
    let x: Float32Array = own
      ? dequantizeBnb4(file, own)
      : toFloat32(file.bytes(stored), { dtype, count: elementCount(tensor.shape), name: stored });
    if (kind === "gguf" && blockTypes[dtype].block > 1) roundToHalf(x);
    checkFinite(x, { name: stored, source: file.source });
    if (kind === "gguf" && tensor.interleavedInGguf) {
      x = reorderHeads(x, { headDim: config.headDim, width: tensor.shape[1] ?? 1 });
    }
    if (kind === "safetensors" && tensor.role === "norm" && config.normPlusOne) {
      for (let i = 0; i < x.length; i++) x[i] += 1;
    }
    return x;
  }

  function half(name: string): HalfWeight | undefined {
    const tensor = find(name), stored = storedName(tensor), { dtype } = file.tensors.get(stored)!;
    if ((tensor.role !== "embedding" && tensor.role !== "head") || fourBit.has(stored)) return undefined;
    if (kind === "gguf" && blockTypes[dtype].block > 1) return { format: "f16", data: f32ToF16(float32(name)) };
    if (dtype !== "F16" && dtype !== "BF16") return undefined;
    const format = dtype === "F16" ? "f16" : "bf16", data = asU16(file.bytes(stored));
    checkFiniteHalf({ format, data }, { name: stored, source: file.source });
    return { format, data };
  }

  return {
    ...about,
    tensors,
    float32,
    half,
    fourBit(name) {
      const own = fourBit.get(storedName(find(name)));
      if (own) return isOwnNf4(file, own) ? "own" : "quantise";
      return fourBit.size > 0 ? "never" : "quantise";
    },
    nf4: (name) => ownNf4(file, fourBit.get(storedName(find(name)))!),
    precision: (name) => fourBit.get(storedName(find(name)))?.type ?? file.tensors.get(storedName(find(name)))!.dtype,
    bytesOf: (name) => file.bytes(storedName(find(name))),
    fingerprint: () => fingerprint(file),
    close: () => file.close(),
  };
}

/** Every tensor of the model is there with its shape, and nothing else is that could matter. */
function checkTensors(
  file: OpenTensors,
  { kind, config, fourBit, tensors }: {
    kind: string;
    config: ModelConfig;
    fourBit: ReadonlyMap<string, Bnb4Weight>;
    tensors: { name: string; shape: number[] }[];
  },
): void {
  const missing = tensors.filter(({ name }) => !file.tensors.has(name));
  if (missing.length > 0) {
    const [{ name }] = missing, near = nearest(name, file.tensors.keys());
    const others = missing.length > 1 ? ` and ${missing.length - 1} others` : "";
    throw new UserError(`Cannot find tensor "${name}"${others} in ${file.source}, which has ${file.tensors.size}`, {
      hint: `the configuration says ${config.architecture} with ${config.layers} layers` +
        (near ? `; the nearest name is "${near}"` : ""),
    });
  }
  for (const { name, shape } of tensors) {
    const found = fourBit.get(name)?.shape ?? file.tensors.get(name)!.shape;
    if (found.length !== shape.length || found.some((size, i) => size !== shape[i])) {
      throw new UserError(
        `Tensor "${name}" in ${file.source} has shape [${found.join(", ")}], expected [${shape.join(", ")}]`,
        { hint: "the configuration and the weights contradict each other: they are of different models" },
      );
    }
    const { dtype } = file.tensors.get(name)!;
    if (!fourBit.has(name) && !decodableTypes.includes(dtype)) {
      throw new UserError(`Tensor "${name}" in ${file.source} is stored as ${dtype}, which is not read`, {
        hint: `read are ${decodableTypes.join(", ")} and bitsandbytes 4-bit: take another copy of this model`,
      });
    }
  }
  const expected = new Set(tensors.map(({ name }) => name));
  const harmless = kind === "gguf" ? /^rope_freqs\.weight$/ : /(^lm_head\.weight|\.rotary_emb\.inv_freq)$/;
  for (const name of file.tensors.keys()) {
    if (!expected.has(name) && !harmless.test(name) && !(kind === "safetensors" && isBnb4Part(name))) {
      throw new UserError(`Tensor "${name}" in ${file.source} is not part of a ${config.architecture} model`, {
        hint: "this variant of the architecture is not supported: its result would be wrong without that tensor",
      });
    }
  }
}

/** Rounds to float16's values in place, a piece at a time: no second array of the tensor's size. */
function roundToHalf(x: Float32Array): void {
  const half = new Uint16Array(Math.min(x.length, 1 << 16));
  for (let start = 0; start < x.length; start += half.length) {
    const piece = x.subarray(start, start + half.length);
    f16ToF32(f32ToF16(piece, half).subarray(0, piece.length), piece);
  }
}

/** Throws UserError at the first NaN or infinity. */
function checkFinite(x: Float32Array, where: { name: string; source: string }): void {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] - x[i];
  if (sum === 0) return;
  const index = x.findIndex((value) => !Number.isFinite(value));
  throw notFinite(x[index], { ...where, index, count: x.length });
}

/** The same of 16-bit patterns: all ones in the exponent. */
function checkFiniteHalf({ format, data }: HalfWeight, where: { name: string; source: string }): void {
  const exponent = format === "f16" ? 0x7c00 : 0x7f80;
  const index = data.findIndex((pattern) => (pattern & exponent) === exponent);
  if (index < 0) return;
  const [value] = halfToF32({ format, data }, { start: index, end: index + 1 });
  throw notFinite(value, { ...where, index, count: data.length });
}

function notFinite(
  value: number,
  { name, source, index, count }: { name: string; source: string; index: number; count: number },
): UserError {
  return new UserError(`Tensor "${name}" in ${source} holds ${value} at element ${index} of ${count}`, {
    hint: "the file is damaged or its training diverged: fetch it again or take another model",
  });
}

function fingerprint(file: OpenTensors): string {
  const hash = createHash("sha256");
  for (const { source, headerBytes } of file.files) {
    const changed = Deno.statSync(source.name).mtime?.getTime() ?? 0;
    hash.update(`${Deno.realPathSync(source.name)}\n${source.size}\n${changed}\n`);
    hash.update(source.read(0, headerBytes));
  }
  return hash.digest("hex");
}
