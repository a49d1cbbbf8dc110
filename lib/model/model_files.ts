/**
 * Finds the files of a model: a folder of Hugging Face safetensors, whole or in shards, or one GGUF file. Opens them and
 * reads the small texts beside the weights; nothing here knows what a tensor means.
 */
import { UserError } from "../errors.ts";
import { openFile } from "../files/file_source.ts";
import type { ByteSource } from "../formats/byte_source.ts";
import { parseJson } from "../formats/json_depth.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { quoted, type TensorFile, type TensorInfo } from "../formats/tensor_file.ts";

/** Texts that make a tokenizer, as lib/text takes them. */
export interface TokenizerFiles {
  tokenizerJson: string;
  tokenizerConfig?: string;
  chatTemplate?: string;
  generationConfig?: string;
  source: string;
}

/** Whether a path is a folder, a file or nothing. */
export function kindOfPath(path: string): "folder" | "file" | "nothing" {
  try {
    return Deno.statSync(path).isDirectory ? "folder" : "file";
  } catch {
    return "nothing";
  }
}

/** A text file as a string. UserError when it is missing or not UTF-8. */
export function readText(path: string): string {
  const file = openFile(path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(file.read(0, file.size));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`Cannot read ${path}: it is not UTF-8 text`, { hint: "Fetch or copy the file again." });
  } finally {
    file.close();
  }
}

/** A JSON file as a value. UserError with the parser's position when it is malformed. */
export function readJson(path: string): unknown {
  try {
    return parseJson(readText(path));
  } catch (error) {
    if (error instanceof UserError) throw error;
    const message = (error as Error).message.replace(/\s+/g, " "); // It quotes the file, line ends too.
    throw new UserError(`Cannot read ${path}: ${message}`, { hint: "Fetch or copy the file again." });
  }
}

function optionalText(path: string): string | undefined {
  return kindOfPath(path) === "file" ? readText(path) : undefined;
}

/** A folder's generation_config.json as a value, or undefined when there is none. */
export function readGenerationConfig(folder: string): unknown {
  const path = `${folder}/generation_config.json`;
  return kindOfPath(path) === "file" ? readJson(path) : undefined;
}

/** The texts that make a folder's tokenizer. UserError when tokenizer.json is missing. */
export function tokenizerFiles(folder: string): TokenizerFiles {
  const path = `${folder}/tokenizer.json`;
  if (kindOfPath(path) !== "file") {
    throw new UserError(`Cannot find the tokenizer: ${path} does not exist`, {
      hint: kindOfPath(`${folder}/tokenizer.model`) === "file"
        ? "tokenizer.model alone is not read: fetch tokenizer.json of the same model too"
        : "copy tokenizer.json and tokenizer_config.json of the model into the folder",
    });
  }
  return {
    tokenizerJson: readText(path),
    tokenizerConfig: optionalText(`${folder}/tokenizer_config.json`),
    chatTemplate: optionalText(`${folder}/chat_template.jinja`),
    generationConfig: optionalText(`${folder}/generation_config.json`),
    source: folder,
  };
}

/** A folder's chat template: chat_template.jinja, or the (default) one in tokenizer_config.json, or null. */
export function folderChatTemplate(folder: string): string | null {
  const own = optionalText(`${folder}/chat_template.jinja`);
  if (own !== undefined) return own;
  const path = `${folder}/tokenizer_config.json`;
  if (kindOfPath(path) !== "file") return null;
  const found = (readJson(path) as { chat_template?: unknown } | null)?.chat_template;
  const named = Array.isArray(found) ? found.find((entry) => entry?.name === "default")?.template : found;
  return typeof named === "string" ? named : null;
}

export interface OpenTensors extends TensorFile {
  /** The files, with the number of bytes before the first tensor's data. */
  readonly files: { source: ByteSource; headerBytes: number }[];
  close(): void;
}

/** What opens a file of tensors and must be closed when something after it fails. */
export function openTensors<F extends TensorFile>(path: string, open: (source: ByteSource) => F): F & OpenTensors {
  const source = openFile(path);
  try {
    const file = open(source);
    const first = Math.min(source.size, ...Array.from(file.tensors.values(), (info) => info.offset));
    return { ...file, files: [{ source, headerBytes: first }], close: () => source.close() };
  } catch (error) {
    source.close();
    throw error;
  }
}

/** The tensors of a folder: model.safetensors, or the shards that model.safetensors.index.json lists. */
export function openFolderTensors(folder: string): OpenTensors {
  if (kindOfPath(`${folder}/model.safetensors`) === "file") {
    return openTensors(`${folder}/model.safetensors`, openSafetensors);
  }
  const index = `${folder}/model.safetensors.index.json`;
  if (kindOfPath(index) !== "file") throw noWeights(folder);
  const map = (readJson(index) as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new UserError(`Cannot read ${index}: weight_map is missing`, { hint: "Fetch or copy the file again." });
  }
  return openShards(folder, { index, map: map as Record<string, unknown> });
}

function openShards(folder: string, { index, map }: { index: string; map: Record<string, unknown> }): OpenTensors {
  const shards = new Map<string, OpenTensors>();
  const close = () => shards.forEach((shard) => shard.close());
  try {
    const tensors = new Map<string, TensorInfo>(), shardOf = new Map<string, OpenTensors>();
    for (const [name, file] of Object.entries(map)) {
      if (typeof file !== "string" || !/^[^/\\]+\.safetensors$/.test(file)) {
        const where = typeof file === "string" ? quoted(file) : JSON.stringify(file);
        throw new UserError(
          `Cannot read ${index}: tensor ${quoted(name)} is in ${where}, not a file beside it`,
          { hint: "Fetch or copy the file again." },
        );
      }
      if (!shards.has(file) && kindOfPath(`${folder}/${file}`) !== "file") {
        throw missingShard(folder, { index, map, file });
      }
      const shard = shards.get(file) ?? openTensors(`${folder}/${file}`, openSafetensors);
      shards.set(file, shard);
      const info = shard.tensors.get(name);
      if (!info) {
        throw new UserError(`Cannot find tensor ${quoted(name)} in ${folder}/${file}, where ${index} says it is`, {
          hint: "The index and the shards are of different downloads: fetch the model again.",
        });
      }
      tensors.set(name, info);
      shardOf.set(name, shard);
    }
    return {
      source: folder,
      tensors,
      bytes(name) {
        const shard = shardOf.get(name);
        if (!shard) throw new UserError(`Cannot find tensor "${name}" in ${folder}`);
        return shard.bytes(name);
      },
      files: [...shards.values()].flatMap((shard) => shard.files),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function missingShard(
  folder: string,
  { index, map, file }: { index: string; map: Record<string, unknown>; file: string },
): UserError {
  const all = [...new Set(Object.values(map))];
  const missing = all.filter((each) => kindOfPath(`${folder}/${each}`) !== "file").length;
  return new UserError(`Cannot find ${folder}/${file}, which ${index} lists`, {
    hint: `${missing} of the model's ${all.length} shards ${
      missing === 1 ? "is" : "are"
    } missing: fetch the model again`,
  });
}

function noWeights(folder: string): UserError {
  const has = (file: string) => kindOfPath(`${folder}/${file}`) === "file";
  const names = Array.from(Deno.readDirSync(folder), (entry) => entry.name).sort();
  const pickle = names.find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  const gguf = names.find((name) => name.endsWith(".gguf"));
  const hint = has("adapter_config.json")
    ? "this folder holds an adapter: name its base model instead"
    : pickle
    ? `${pickle} is not read (pickled weights may run programs): fetch the safetensors version of the model`
    : names.some((name) => /^model-\d+-of-\d+\.safetensors$/.test(name))
    ? "the folder holds shards: fetch model.safetensors.index.json too"
    : gguf
    ? `name the file itself: ${folder}/${gguf}`
    : "a model is a folder with config.json and model.safetensors, or one .gguf file";
  return new UserError(`Cannot find model.safetensors in ${folder}`, { hint });
}
