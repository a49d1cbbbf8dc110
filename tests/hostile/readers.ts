/**
 * Every reader of files that may come from anywhere, as the fuzzer and the corpus see it: valid files to begin with,
 * damage that keeps their structure, and one function that reads a file to its end, as a command would.
 *
 * A reader answers a bad file with a UserError of one line (`lines: true` where it lists several problems).
 */
import { join } from "node:path";
import { planExperiment } from "../../lib/cli/experiment_plan.ts";
import { resolveTrain } from "../../lib/cli/resolve.ts";
import { loadDataset } from "../../lib/data/dataset.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import { elementCount, type TensorFile } from "../../lib/formats/tensor_file.ts";
import { filesByCard } from "../../lib/hub/dataset_card.ts";
import { judgeGgufHead } from "../../lib/model/early_look.ts";
import { loadAdapter } from "../../lib/model/load_adapter.ts";
import { openFolderTensors } from "../../lib/model/model_files.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { openModel } from "../../lib/model/source.ts";
import { bnb4Weights, dequantizeBnb4, isOwnNf4, ownNf4 } from "../../lib/quant/bnb4.ts";
import { decodableTypes, toFloat32 } from "../../lib/quant/decode.ts";
import { readBody } from "../../lib/serve/body.ts";
import { promptText, templateMessages } from "../../lib/serve/prompt.ts";
import { chatRequest } from "../../lib/serve/schema.ts";
import { renderChat } from "../../lib/text/chat_template.ts";
import { type Tokenizer, tokenizerFromJson } from "../../lib/text/tokenizer.ts";
import { readCheckpoint } from "../../lib/train/checkpoint.ts";
import { qwenTemplate } from "../helpers/chat_templates.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";
import { readReport } from "../../lib/cli/report_data.ts";
import { damagedBytes, damagedHeader, damagedJson, damagedText, pick, type Random } from "./damage.ts";
import * as rowSeeds from "./row_seeds.ts";
import * as seeds from "./seeds.ts";

export interface Reader {
  name: string;
  seeds: () => Uint8Array[] | Promise<Uint8Array[]>;
  /** Damage that leaves enough standing to get behind the first check; bytes are damaged besides. */
  damage?: (bytes: Uint8Array, random: Random) => Uint8Array | Promise<Uint8Array>;
  /** Errors: UserError, or ApiError from the server's. */
  read: (bytes: Uint8Array) => void | Promise<void>;
  /** Its errors may list several problems, a line each. */
  lines?: boolean;
}

const utf8 = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const onText = (change: (text: string, random: Random) => string) => (bytes: Uint8Array, random: Random) =>
  utf8(change(textOf(bytes), random));
const asJson = onText(damagedJson);
const asText = (words: readonly string[]) => onText((text, random) => damagedText(text, random, words));

/** Every tensor, decoded where there is a decoder. */
function readTensors(file: TensorFile): void {
  for (const { name, dtype, shape } of file.tensors.values()) {
    const bytes = file.bytes(name);
    if (decodableTypes.includes(dtype)) toFloat32(bytes, { dtype, count: elementCount(shape), name });
  }
}

/** Encodes and decodes texts of all kinds, and asks everything else that a tokenizer is asked. */
function useTokenizer(tokenizer: Tokenizer): void {
  for (const text of ["Hello, world! 42", "  two\n\n\tspaces ", "café 日本語 🙂 <|im_end|>", "a".repeat(40), ""]) {
    const ids = tokenizer.encode(text, { addSpecial: true });
    tokenizer.decode(ids, { skipSpecial: true });
    for (const id of ids) tokenizer.bytesOf(id), tokenizer.tokenText(id), tokenizer.isSpecial(id);
  }
  tokenizer.decode([0, 1, 2, tokenizer.vocabSize - 1, 1e9]);
}

/** A folder in memory where there is one, with one file that changes. */
function inFolder(fill: (folder: string) => void, file: string, read: (folder: string) => void) {
  let folder: string | undefined;
  return (bytes: Uint8Array) => {
    folder ??= seeds.scratchFolder(fill);
    Deno.writeFileSync(join(folder, file), bytes);
    read(folder);
  };
}

const conversation = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "What is 6 x 7?" },
  { role: "assistant", content: "42", tool_calls: [seeds.toolCall] },
  { role: "user", content: "Why?" },
];

const modelReaders: Reader[] = [
  {
    name: "safetensors",
    seeds: seeds.safetensors,
    damage: damagedHeader,
    read: (bytes) => readTensors(openSafetensors(bytesSource(bytes, "m.safetensors"))),
  },
  {
    name: "bnb4",
    seeds: seeds.bnb4,
    damage: (bytes, random) => random() % 2 ? damagedHeader(bytes, random) : seeds.damagedState(bytes, random),
    read(bytes) {
      const file = openSafetensors(bytesSource(bytes, "m.safetensors"));
      for (const weight of bnb4Weights(file).values()) {
        dequantizeBnb4(file, weight);
        if (isOwnNf4(file, weight)) ownNf4(file, weight);
      }
    },
  },
  {
    name: "index.json",
    seeds: () => [utf8(seeds.shardIndex)],
    damage: asJson,
    read: inFolder(seeds.writeShards, "model.safetensors.index.json", (folder) => {
      const file = openFolderTensors(folder);
      try {
        readTensors(file);
      } finally {
        file.close();
      }
    }),
  },
  {
    name: "config.json",
    seeds: seeds.configs,
    damage: asJson,
    read(bytes) {
      const json = seeds.parsed(bytes);
      if (json !== undefined) configFromHf(json, { source: "config.json", generationConfig: json });
    },
  },
  {
    name: "gguf",
    seeds: seeds.ggufs,
    damage: seeds.damagedGguf,
    read: inFolder(() => {}, "m.gguf", (folder) => {
      const path = join(folder, "m.gguf"), bytes = Deno.readFileSync(path);
      judgeGgufHead(bytes.subarray(0, bytes.length / 2), "m.gguf");
      readTensors(openGguf(bytesSource(bytes, "m.gguf")));
      seeds.useModel(openModel(path), useTokenizer);
    }),
  },
  {
    name: "tokenizer.json",
    seeds: seeds.tokenizers,
    damage: asJson,
    read(bytes) {
      useTokenizer(tokenizerFromJson({ tokenizerJson: textOf(bytes), source: "folder" }));
    },
  },
  {
    name: "tokenizer_config.json",
    seeds: seeds.tokenizerConfigs,
    damage: asJson,
    read(bytes) {
      const tokenizerJson = seeds.smallTokenizer(), config = textOf(bytes);
      const tokenizer = tokenizerFromJson({
        ...{ tokenizerJson, tokenizerConfig: config, generationConfig: config, source: "folder" },
      });
      if (tokenizer.chatTemplate !== null) {
        renderChat(tokenizer.chatTemplate, { messages: conversation, source: "folder" });
      }
    },
  },
  {
    name: "chat template",
    seeds: () => seeds.templates.map(utf8),
    damage: asText(seeds.jinjaWords),
    read(bytes) {
      const template = textOf(bytes), source = "m", about = { bosToken: "<s>", eosToken: "</s>", source };
      renderChat(template, { messages: conversation, addGenerationPrompt: true, tools: [seeds.tool], ...about });
    },
  },
  {
    name: "adapter_config.json",
    seeds: () => [utf8(JSON.stringify(seeds.adapterConfig))],
    damage: asJson,
    read: inFolder(
      seeds.writeAdapter,
      "adapter_config.json",
      (folder) => void loadAdapter(folder, seeds.adapterBase()),
    ),
  },
  {
    name: "adapter_model.safetensors",
    seeds: seeds.adapterTensors,
    damage: damagedHeader,
    read: inFolder(
      seeds.writeAdapter,
      "adapter_model.safetensors",
      (folder) => void loadAdapter(folder, seeds.adapterBase()),
    ),
  },
];

const settingsReaders: Reader[] = [
  {
    name: "train.yaml",
    seeds: () => rowSeeds.trainYamls().map(utf8),
    damage: asText(rowSeeds.yamlWords),
    read: (bytes) => void resolveTrain({ flags: {}, file: { text: textOf(bytes), name: "train.yaml" } }),
    lines: true,
  },
  {
    name: "experiment.yaml",
    seeds: () => [utf8(rowSeeds.experimentYaml)],
    damage: asText(rowSeeds.yamlWords),
    read: (bytes) => void planExperiment({ text: textOf(bytes), name: "experiment.yaml" }),
    lines: true,
  },
  {
    name: "dataset card",
    seeds: () => [utf8(rowSeeds.card)],
    damage: asText(rowSeeds.yamlWords),
    read: (bytes) => void filesByCard(textOf(bytes), ["data/train-0.parquet", "a/test.jsonl"], { repo: "org/rows" }),
  },
  {
    name: "checkpoint",
    seeds: rowSeeds.checkpoints,
    damage: rowSeeds.damagedCheckpoint,
    read: inFolder(() => {}, "step-000010.safetensors", (folder) => {
      readCheckpoint(join(folder, "step-000010.safetensors"));
    }),
  },
  {
    name: "log.jsonl",
    seeds: () => [utf8(rowSeeds.trainLog)],
    damage: asText(["\n", "{}", "null", '{"step":'.repeat(9)]),
    read: inFolder(rowSeeds.writeRun, "log.jsonl", (folder) => void readReport(folder)),
  },
  {
    name: "eval.json",
    seeds: () => [utf8(rowSeeds.evaluation)],
    damage: asJson,
    read: inFolder(rowSeeds.writeRun, "eval.json", (folder) => void readReport(folder)),
  },
  {
    name: "chat request",
    seeds: () => [utf8(JSON.stringify(rowSeeds.chatBody))],
    damage: asJson,
    async read(bytes) {
      const request = new Request("http://localhost/", { method: "POST", body: bytes as Uint8Array<ArrayBuffer> });
      const { messages, tools } = await readBody(request, chatRequest, { bodyLimit: 1 << 24, bodyTimeout: 5000 });
      const form = { template: pick(seeds.templates, () => bytes.length) };
      promptText({ messages: templateMessages(messages), tools: tools ?? [] }, form, smollm2Tokenizer());
    },
  },
];

/** Rows as training reads them: cleaned, rendered through a chat template, tokenised. */
async function readRows(bytes: Uint8Array, name: string): Promise<void> {
  const tokenizer = smollm2Tokenizer();
  await loadDataset({
    files: { name, open: [() => bytesSource(bytes, name)] },
    ...{ format: "auto", columns: null },
    rendering: () => ({ tokenizer, maxLength: 2048, chatTemplate: qwenTemplate }),
  });
}

const dataReaders: Reader[] = Object.entries(rowSeeds.dataFiles).map(([name, { files, damage }]) => ({
  name,
  seeds: files,
  damage: damage ?? asText(rowSeeds.dataWords),
  read: (bytes) => readRows(bytes, name),
}));

export const readers: readonly Reader[] = [...modelReaders, ...settingsReaders, ...dataReaders];

/** A damaged file of a reader: half of the time its structure is changed, else its bytes. */
export async function damagedFile(reader: Reader, files: readonly Uint8Array[], random: Random): Promise<Uint8Array> {
  const bytes = pick(files, random);
  if (!reader.damage || random() % 3 === 0) return damagedBytes(bytes, random, files);
  try {
    const changed = await reader.damage(bytes, random);
    return random() % 8 === 0 ? damagedBytes(changed, random, files) : changed;
  } catch {
    return damagedBytes(bytes, random, files); // no structure is left to be changed
  }
}
