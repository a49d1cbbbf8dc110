/**
 * The valid files of models that damage begins with, each as small as a file of its kind can be while it still has one of
 * everything, and damage that only one kind of file knows. Those of settings, runs and rows are in row_seeds.ts.
 */
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { ggmlTypes } from "../../lib/formats/ggml_types.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import type { TypedValue } from "../../lib/formats/gguf_values.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { type LazyTensor, openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { elementCount } from "../../lib/formats/tensor_file.ts";
import { makeParameters } from "../../lib/model/adapter.ts";
import type { ModelConfig } from "../../lib/model/config.ts";
import { modelTensors, projections } from "../../lib/model/names.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { configFromGguf } from "../../lib/model/parse_gguf_config.ts";
import type { ModelSource } from "../../lib/model/source.ts";
import { rebuildTokenizer } from "../../lib/text/gguf_tokenizer.ts";
import { type Tokenizer, tokenizerFromGguf } from "../../lib/text/tokenizer.ts";
import { concat, randomBits, utf8 } from "../helpers/bytes.ts";
import { llama32Template, mistralTemplate, qwenTemplate } from "../helpers/chat_templates.ts";
import { goldenPath } from "../helpers/golden.ts";
import { chatMl, tinyBpeMetadata, tinySpmMetadata, tinyTokenizerJson } from "../helpers/tokenizers.ts";
import { damagedJson, damagedText, pick, type Random } from "./damage.ts";

const decoder = new TextDecoder();
const json = (value: unknown) => utf8(JSON.stringify(value));
const golden = (name: string) => Deno.readFileSync(goldenPath(name));

/** A folder in memory where the system has one; removed when the process ends. */
export function scratchFolder(fill: (folder: string) => void): string {
  const shm = Deno.build.os === "linux" ? "/dev/shm" : undefined;
  const folder = Deno.makeTempDirSync({ dir: shm, prefix: "ftl-hostile-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  fill(folder);
  return folder;
}

/** JSON, or undefined where it is none: what readers of values get to see. */
export function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch {
    return undefined;
  }
}

// Tensors

export function tensor(name: string, dtype: string, shape: number[]): LazyTensor {
  const { block, bytes } = dtype === "U8" ? { block: 1, bytes: 1 } : ggmlTypes[dtype];
  const byteLength = elementCount(shape) / block * bytes, random = randomBits(name.length + 1);
  // Small numbers in every float format, since all exponents are low.
  return { name, dtype, shape, byteLength, data: () => Uint8Array.from({ length: byteLength }, () => random() & 0x3b) };
}

export const safetensors = () => [
  concat(writeSafetensors([
    ...[tensor("a", "F32", [2, 3]), tensor("b", "BF16", [4]), tensor("c", "U8", [5]), tensor("scalar", "F32", [])],
    ...[tensor("none", "F16", [0, 7]), tensor("__proto__", "F16", [3])],
  ], { format: "pt" })),
  concat(writeSafetensors([tensor("model.norm.weight", "F32", [8])])),
];

const bnb4Parts = (nested: boolean): LazyTensor[] => {
  const state = { quant_type: "nf4", blocksize: 64, dtype: "bfloat16", shape: [8, 32] };
  const more = nested ? { nested_blocksize: 256, nested_offset: 0.5, nested_dtype: "float32" } : {};
  const text = json({ ...state, ...more });
  return [
    tensor("w", "U8", [128, 1]),
    nested ? tensor("w.absmax", "U8", [4]) : tensor("w.absmax", "F32", [4]),
    tensor("w.quant_map", "F32", [16]),
    ...(nested ? [tensor("w.nested_absmax", "F32", [1]), tensor("w.nested_quant_map", "F32", [256])] : []),
    {
      name: "w.quant_state.bitsandbytes__nf4",
      dtype: "U8",
      shape: [text.length],
      byteLength: text.length,
      data: () => text,
    },
  ];
};

export const bnb4 = () => [true, false].map((nested) => concat(writeSafetensors(bnb4Parts(nested))));

/** The same file with another quant_state, which is JSON inside a tensor. */
export function damagedState(bytes: Uint8Array, random: Random): Uint8Array {
  return rewritten(bytes, (name, data) => {
    if (!name.includes("quant_state")) return data;
    return utf8(damagedJson(decoder.decode(data), random));
  });
}

/** A safetensors file whose U8 tensors are changed, with a header that fits. */
function rewritten(bytes: Uint8Array, change: (name: string, data: Uint8Array) => Uint8Array): Uint8Array {
  const file = openSafetensors(bytesSource(bytes, "m"));
  const tensors = [...file.tensors.values()].map(({ name, dtype, shape }): LazyTensor => {
    const data = dtype === "U8" ? change(name, file.bytes(name)) : file.bytes(name);
    return {
      ...{ name, dtype, byteLength: data.length, data: () => data },
      shape: dtype === "U8" && data.length !== elementCount(shape) ? [data.length] : shape,
    };
  });
  return concat(writeSafetensors(tensors, file.metadata));
}

const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
export const shardIndex = JSON.stringify({ metadata: { total_size: 24 }, weight_map: { a: shards[0], b: shards[1] } });

export function writeShards(folder: string): void {
  Deno.writeFileSync(`${folder}/${shards[0]}`, concat(writeSafetensors([tensor("a", "F32", [4])])));
  Deno.writeFileSync(`${folder}/${shards[1]}`, concat(writeSafetensors([tensor("b", "F32", [2])])));
}

export const configs = () =>
  ["llama3", "qwen2", "qwen3", "mistral", "gemma3", "llama3_bnb4"].map((name) => golden(`tiny/${name}/config.json`));

// GGUF

/** A whole llama of one layer, with the small byte-level vocabulary or the SentencePiece one. */
function gguf(vocabulary: Map<string, unknown>, type: string): Uint8Array {
  const tokens = vocabulary.get("tokenizer.ggml.tokens") as string[];
  const llama: [string, TypedValue][] = [
    ["general.architecture", { type: "string", value: "llama" }],
    ["general.alignment", { type: "uint32", value: 32 }],
    ["tokenizer.chat_template", { type: "string", value: chatMl }],
    ...Object.entries({
      ...{ block_count: 1, context_length: 64, embedding_length: 32, feed_forward_length: 32 },
      ...{ "attention.head_count": 2, "attention.head_count_kv": 1, "rope.dimension_count": 16 },
    }).map(([key, value]): [string, TypedValue] => [`llama.${key}`, { type: "uint32", value }]),
    ["llama.attention.layer_norm_rms_epsilon", { type: "float32", value: 1e-5 }],
  ];
  const keys = Array.from(vocabulary, ([key, value]): [string, TypedValue] => [key, typed(key, value)]);
  const metadata = [...llama, ...keys];
  const config = configFromGguf(new Map(metadata.map(([key, { value }]) => [key, value])), {
    source: "m.gguf",
    tensors: new Map([["token_embd.weight", { shape: [tokens.length, 32] }]]),
  });
  const tensors = modelTensors(config).map(({ gguf, shape, role }) =>
    tensor(gguf, role === "linear" ? type : "F32", shape)
  );
  return concat(writeGguf(metadata, tensors));
}

function typed(key: string, value: unknown): TypedValue {
  if (typeof value === "string") return { type: "string", value };
  if (typeof value === "boolean") return { type: "bool", value };
  if (typeof value === "number") return { type: "uint32", value };
  const list = value as (string | number)[];
  if (typeof list[0] === "string") return { type: "string[]", value: list as string[] };
  if (key.endsWith("scores")) return { type: "float32[]", value: Float32Array.from(list as number[]) };
  return { type: "int32[]", value: Int32Array.from(list as number[]) };
}

export const ggufs = () => [
  gguf(shortened(tinyBpeMetadata(), 300), "Q8_0"),
  gguf(shortened(tinySpmMetadata(), 300), "Q4_1"),
];

/** Fewer pieces, so that a file is read in milliseconds. */
function shortened(metadata: Map<string, unknown>, count: number): Map<string, unknown> {
  const tokens = (metadata.get("tokenizer.ggml.tokens") as string[]).slice(0, count), known = new Set(tokens);
  return new Map(Array.from(metadata, ([key, value]) => {
    if (key.endsWith(".merges")) {
      return [key, (value as string[]).filter((merge) => known.has(merge.replace(" ", "")))];
    }
    return [key, Array.isArray(value) ? value.slice(0, count) : value];
  }));
}

/** Other values, types, names and shapes, written as a file that is whole. */
export function damagedGguf(bytes: Uint8Array, random: Random): Uint8Array {
  const file = openGguf(bytesSource(bytes, "m.gguf"));
  const keys = Array.from(file.metadata, ([key, value]): [string, TypedValue] => [
    key,
    { type: file.types.get(key)!, value },
  ]);
  const tensors = Array.from(file.tensors.values(), ({ name, dtype, shape, byteLength }): LazyTensor => {
    return { name, dtype, shape, byteLength, data: () => file.bytes(name) };
  });
  for (let left = 1 + random() % 3; left > 0; left--) {
    if (random() % 3) changeKey(keys, random);
    else changeTensor(tensors, random);
  }
  const alignment = keys.find(([key]) => key === "general.alignment")?.[1].value;
  if (Number(alignment ?? 0) > 1 << 16) {
    throw new Error("tensors so far apart would fill the memory while they are written");
  }
  return concat(writeGguf(keys, tensors));
}

const otherValues: readonly TypedValue[] = [
  ...[0, 1, 3, 255, 65_536, 2 ** 31, 2 ** 32 - 1].map((value): TypedValue => ({ type: "uint32", value })),
  ...[0, -1, 1e-45, 1e38, NaN, Infinity].map((value): TypedValue => ({ type: "float32", value })),
  ...["", "llama", "gpt2", "qwen2", "gemma3", "constructor", "{{", "x".repeat(9999)].map((value): TypedValue => ({
    type: "string",
    value,
  })),
  { type: "uint64", value: 2n ** 63n },
  { type: "int64", value: -1 },
  { type: "bool", value: true },
  { type: "string[]", value: [] },
  { type: "string[]", value: ["", "a b", "a", "a", "b c d", " "] },
  { type: "int32[]", value: Int32Array.of(1, 2, 3, -1) },
  { type: "float64[]", value: Float64Array.of(NaN, 1e308) },
];

function changeKey(keys: [string, TypedValue][], random: Random): void {
  const at = random() % keys.length, entry = keys[at], { type, value } = entry[1];
  switch (random() % 4) {
    case 0:
      keys.splice(at, 1);
      return;
    case 1:
      entry[0] = damagedText(entry[0], random);
      return;
    case 2:
      if (typeof value === "string") {
        entry[1] = { type, value: damagedText(value, random, jinjaWords).toWellFormed() };
        return;
      }
      if (Array.isArray(value) && type === "string[]") {
        const list = (value as string[]).slice(), i = random() % (list.length || 1);
        list[i] = damagedText(pick(list, random) ?? "", random).toWellFormed();
        entry[1] = { type, value: random() % 3 ? list : list.slice(0, i) };
        return;
      }
      if (ArrayBuffer.isView(value) && "fill" in value && !(value instanceof BigUint64Array)) {
        const list = (value as Int32Array).slice();
        list.fill(random() % 9 - 1, random() % (list.length || 1));
        entry[1] = { type, value: list };
        return;
      }
      // falls through
    default:
      entry[1] = pick(otherValues, random);
  }
}

function changeTensor(tensors: LazyTensor[], random: Random): void {
  const at = random() % tensors.length, { name, dtype, shape } = tensors[at];
  switch (random() % 5) {
    case 0:
      tensors.splice(at, 1);
      return;
    case 1:
      tensors[at] = { ...tensors[at], name: damagedText(name, random).slice(0, 40) };
      return;
    case 2:
      tensors[at] = tensor(name, pick(Object.keys(ggmlTypes), random), [...shape]);
      return;
    case 3:
      tensors[at] = tensor(name, dtype, shape.length > 1 ? [shape[1] * (random() % 3), shape[0]] : [random() % 999]);
      return;
    default:
      tensors.push(
        tensor(pick(["rope_freqs.weight", "output.weight", "blk.0.x", "x"], random), "F32", [random() % 40]),
      );
  }
}

/** All that is asked of an opened model. */
export function useModel(source: ModelSource, use: (tokenizer: Tokenizer) => void): void {
  try {
    for (const { name, role } of source.tensors) {
      source.float32(name);
      if (role === "embedding" || role === "head") source.half(name);
      if (source.fourBit(name) === "own") source.nf4(name);
    }
    const found = source.tokenizer();
    if (found.kind === "gguf") use(tokenizerFromGguf(found.metadata, found.source));
  } finally {
    source.close();
  }
}

// Tokenizers and templates

export const smallTokenizer = () => JSON.stringify(rebuildTokenizer(shortened(tinyBpeMetadata(), 300), "t").whole());

export const tokenizers = () => {
  const template = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<|im_start|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<|im_start|>": { id: "<|im_start|>", ids: [1], tokens: ["<|im_start|>"] } },
  };
  const digits = { type: "Digits", individual_digits: true };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const pre_tokenizer = { type: "Sequence", pretokenizers: [digits, byteLevel] };
  return [
    json(tinyTokenizerJson({ post_processor: template, pre_tokenizer, normalizer: { type: "NFC" } })),
    utf8(smallTokenizer()),
    json(rebuildTokenizer(shortened(tinySpmMetadata(), 300), "t").whole()),
  ];
};

export const tokenizerConfigs = () => [
  json({
    bos_token: "<|im_start|>",
    eos_token: { content: "<|im_end|>", special: true },
    add_bos_token: true,
    eos_token_id: [2, 0],
    chat_template: chatMl,
  }),
  json({ chat_template: [{ name: "default", template: chatMl }, { name: "tool_use", template: qwenTemplate }] }),
];

export const toolCall = {
  id: "call00001",
  type: "function",
  function: { name: "add", arguments: { a: 1, b: [2, "x"] } },
};
export const tool = {
  type: "function",
  function: { name: "add", description: "D", parameters: { type: "object", properties: { a: { type: "number" } } } },
};

const macros = `{%- macro turn(role, text='') -%}<|{{ role }}|>{{ text | trim }}{%- endmacro -%}
{%- set ns = namespace(count=0, last='') -%}
{%- for m in messages if m.content is defined -%}
{%- set ns.count = ns.count + 1 -%}{%- set ns.last = ns.last ~ m.role[:1] -%}
{{- turn(m.role, text=m.content.replace('\\n', ' ').split('</think>')[-1]) }}
{%- if loop.index0 > 2 and not loop.last %}{% continue %}{% endif -%}
{%- endfor -%}
{{ ns.last | upper }}{{ messages | map(attribute='role') | list | join(', ') }}{{ {'a': [1, 2.5, none]} | tojson(indent=2) }}
{%- if messages[-1:] | length == 1 and 'x' not in ns.last %}{{ range(3) | list }}{% endif %}`;

export const templates: readonly string[] = [chatMl, qwenTemplate, llama32Template, mistralTemplate, macros];

/** Words of Jinja, and whole sentences that grow or never end. */
export const jinjaWords = [
  ..."for in if elif else endif endfor set endset macro endmacro call endcall filter endfilter break continue".split(
    " ",
  ),
  ..."is not and or defined none true loop.index loop.last messages tools namespace range( raise_exception(".split(" "),
  ...["{{", "}}", "{%", "%}", "{%-", "-%}", "{#", "#}", "|", "~", "[::-1]", "[1:]", "(*x)", "(**x)"],
  ..."|tojson |length |join('x') |string |list |sort |unique |trim |items |replace('a','bb') |indent(9)".split(" "),
  ..."|selectattr('role') |map(attribute='role') .split('') .strip() .items() .replace('','x') .title()".split(" "),
  "{% for i in range(99999) %}",
  "{% for m in messages %}",
  "{% endfor %}",
  "{% endmacro %}",
  "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
  "{% set ns = namespace(x='ab', y=[messages]) %}",
  "{% set ns.x = ns.x ~ ns.x %}",
  "{% set ns.y = [ns.y, ns.y] %}",
  "{% set ns.y = ns.y + ns.y %}",
  "{{ ns.y | tojson }}",
  "{{ ns.x.split('') | length }}",
  "{{ ns.x.replace('a', ns.x) }}",
  "{{ messages.__class__.__mro__ }}",
  "{{ range.constructor('return globalThis')() }}",
];

// Adapters

export function adapterBase(): ModelConfig {
  return configFromHf({
    ...{ model_type: "llama", hidden_size: 16, num_attention_heads: 2, num_hidden_layers: 2, intermediate_size: 8 },
    ...{ vocab_size: 32, max_position_embeddings: 64 },
  }, { source: "config.json" });
}

export const adapterConfig: Record<string, unknown> = {
  ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: "models/tiny", revision: null },
  ...{ r: 4, lora_alpha: 8, lora_dropout: 0.1, bias: "none", target_modules: ["q_proj", "down_proj"] },
  ...{ use_rslora: false, use_dora: false, init_lora_weights: true, fan_in_fan_out: false, modules_to_save: null },
  ...{ rank_pattern: {}, alpha_pattern: { "layers.0.self_attn.q_proj": 4 }, layers_to_transform: null },
};

export const adapterTensors = () => {
  const settings = {
    ...{ r: 4, lora_alpha: 8, lora_dropout: 0, use_rslora: false, use_dora: false, seed: 1 },
    ...{ target_modules: projections.filter((name) => name === "q_proj" || name === "down_proj") },
    init_lora_weights: true as const,
  };
  const parameters = makeParameters(adapterBase(), settings);
  return [concat(writeSafetensors(parameters.map(({ name, shape }) => tensor(name, "F32", [...shape]))))];
};

export function writeAdapter(folder: string): void {
  Deno.writeTextFileSync(`${folder}/adapter_config.json`, JSON.stringify(adapterConfig));
  Deno.writeFileSync(`${folder}/adapter_model.safetensors`, adapterTensors()[0]);
}
