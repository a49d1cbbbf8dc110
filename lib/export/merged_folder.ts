/**
 * Writes a model with its adapter merged in as a Hugging Face folder: model.safetensors, configuration, tokenizer.
 *
 * Of a model that came as such a folder the small files are copied; of one that came as GGUF they are made from its
 * metadata. Tensors are merged and encoded one at a time, and config.json comes last: a folder that has it is whole.
 */
import { writeAllAtomic } from "../files/atomic.ts";
import { openFile } from "../files/file_source.ts";
import { makeFolder } from "../files/folder.ts";
import { requireSpace } from "../files/space.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { kindOfPath, readJson } from "../model/model_files.ts";
import type { ModelSource } from "../model/source.ts";
import { rebuildTokenizer, type RebuiltTokenizer } from "../text/gguf_tokenizer.ts";
import { type FloatType, lazyTensor } from "./encode.ts";
import { spaceHint } from "./gguf.ts";
import { hfConfig, hfGenerationConfig } from "./hf_config.ts";
import { type ExportAdapter, mergedModel } from "./merge.ts";

export interface MergedFolderExport {
  source: ModelSource;
  /** Merged in; null writes the model as it is. */
  adapter: ExportAdapter | null;
  dtype: FloatType;
  /** Jinja chat template to store instead of the model's own. */
  chatTemplate?: string;
  /** Called after each tensor. */
  progress?: (done: number, total: number) => void;
}

/** transformers' names of the stored types. */
const dtypeNames = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** Files of a Hugging Face folder that stay as they are. */
const copied = [
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "generation_config.json",
];

/** Writes the folder, making it where it is missing. */
export function exportMergedFolder(dir: string, options: MergedFolderExport): void {
  const { source, dtype, progress } = options;
  const model = mergedModel(source, options.adapter);
  const { config } = source;
  // Made first: a model whose configuration or tokenizer cannot be said writes nothing.
  const files = source.kind === "gguf" ? madeFiles(options) : copiedFiles(options);
  makeFolder(dir);
  const tensors = source.tensors.map((tensor, i) =>
    lazyTensor({ name: tensor.name, shape: tensor.shape, dtype }, () => {
      progress?.(i + 1, source.tensors.length);
      const x = model.float32(tensor.name);
      if (tensor.role === "norm" && config.normPlusOne) { for (let j = 0; j < x.length; j++) x[j] -= 1; }
      return x;
    })
  );
  const bytes = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  requireSpace(dir, { bytes, what: "The merged model", hint: spaceHint });
  writeAllAtomic([
    ...files.toReversed().map(([name, content]) => ({ path: `${dir}/${name}`, chunks: [content] })),
    { path: `${dir}/model.safetensors`, chunks: writeSafetensors(tensors, { format: "pt" }) },
  ]);
}

/** config.json is the last one. */
type Files = [name: string, content: Uint8Array][];

function copiedFiles({ source, dtype, chatTemplate }: MergedFolderExport): Files {
  const folder = source.path.replace(/(?<=.)\/+$/, "");
  const files = new Map<string, Uint8Array>();
  for (const name of copied) {
    if (kindOfPath(`${folder}/${name}`) === "file") files.set(name, readBytes(`${folder}/${name}`));
  }
  if (chatTemplate !== undefined) {
    // transformers takes the file before the entry of tokenizer_config.json; older readers know only the entry.
    files.set("chat_template.jinja", utf8(chatTemplate));
    const tokenizerConfig = files.has("tokenizer_config.json") ? readJson(`${folder}/tokenizer_config.json`) : {};
    files.set("tokenizer_config.json", jsonBytes({ ...tokenizerConfig as object, chat_template: chatTemplate }));
  }
  const config = readJson(`${folder}/config.json`) as Record<string, unknown>;
  delete config.quantization_config;
  for (const key of ["dtype", "torch_dtype"]) if (key in config) config[key] = dtypeNames[dtype];
  if (!("dtype" in config) && !("torch_dtype" in config)) config.dtype = dtypeNames[dtype];
  return [...files, ["config.json", jsonBytes(config)]];
}

function madeFiles({ source, dtype, chatTemplate }: MergedFolderExport): Files {
  const found = source.tokenizer();
  if (found.kind !== "gguf") throw new Error("a GGUF file's tokenizer comes from its metadata");
  const tokenizer = rebuildTokenizer(found.metadata, source.path);
  return [
    ["tokenizer.json", jsonBytes(withBos(tokenizer))],
    ["tokenizer_config.json", jsonBytes(tokenizerConfig(tokenizer, { source, chatTemplate }))],
    ["generation_config.json", jsonBytes(hfGenerationConfig(source.config))],
    ["config.json", jsonBytes(hfConfig(source.config, { dtype: dtypeNames[dtype] }))],
  ];
}

/** tokenizer.json, with the step that puts BOS first where this model's texts begin with it. */
function withBos({ whole, tokens, bosId, addBos }: RebuiltTokenizer): Record<string, unknown> {
  const json = whole();
  if (!addBos || bosId === null) return json;
  const bos = { SpecialToken: { id: tokens[bosId], type_id: 0 } };
  const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  return {
    ...json,
    post_processor: {
      type: "TemplateProcessing",
      single: [bos, sequence("A", 0)],
      pair: [bos, sequence("A", 0), sequence("B", 1)],
      special_tokens: { [tokens[bosId]]: { id: tokens[bosId], ids: [bosId], tokens: [tokens[bosId]] } },
    },
  };
}

function tokenizerConfig(
  { tokens, bosId, eosIds, addBos, chatTemplate: own }: RebuiltTokenizer,
  { source, chatTemplate }: { source: ModelSource; chatTemplate?: string },
): Record<string, unknown> {
  const template = chatTemplate ?? own;
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_bos_token: addBos,
    bos_token: bosId === null ? null : tokens[bosId],
    eos_token: eosIds.length === 0 ? null : tokens[eosIds[0]],
    clean_up_tokenization_spaces: false,
    model_max_length: source.config.maxPositions,
    ...(template === null ? {} : { chat_template: template }),
  };
}

function readBytes(path: string): Uint8Array {
  const file = openFile(path);
  try {
    return file.read(0, file.size).slice();
  } finally {
    file.close();
  }
}

function jsonBytes(value: unknown): Uint8Array {
  return utf8(JSON.stringify(value, null, 2) + "\n");
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
