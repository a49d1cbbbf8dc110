/** `ftl export`: a trained model as GGUF with an Ollama Modelfile, as a GGUF adapter, or as merged safetensors. */
import { basename, join } from "node:path";
import { UserError } from "../errors.ts";
import { alpacaTemplate } from "../data/prompt.ts";
import { goTemplateOfChat, goTemplateOfInstruction } from "../export/go_template.ts";
import { exportGguf } from "../export/gguf.ts";
import type { GgufKind } from "../export/gguf_kinds.ts";
import { jinjaOfInstruction } from "../export/instruction_jinja.ts";
import { exportLoraGguf } from "../export/lora_gguf.ts";
import { exportMergedFolder } from "../export/merged_folder.ts";
import { modelfile } from "../export/modelfile.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { lockFolder } from "../files/lock.ts";
import { parsePartPath } from "../formats/gguf_parts.ts";
import { loadAdapter, type LoadedAdapter } from "../model/load_adapter.ts";
import type { ModelSource } from "../model/source.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { openNamedModel } from "./load.ts";
import { type Settings } from "./options.ts";
import { warnOfOtherBase } from "./other_base.ts";
import { progressBar } from "./progress.ts";
import { lookUp, type Named } from "./saved_run.ts";
import { showBytes } from "./terminal.ts";

export type ExportFormat = Settings<"export">["to"][number];

const kinds = {
  f16: "F16",
  bf16: "BF16",
  q8_0: "Q8_0",
  q6_k: "Q6_K",
  q5_k_m: "Q5_K_M",
  q4_k_m: "Q4_K_M",
  q4_0: "Q4_0",
} as const satisfies Partial<Record<ExportFormat, GgufKind>>;

/** What the help says of the kinds. Sizes follow from the rules of gguf_kinds.ts, which a test computes. */
const kindsText = `Writes a trained model for other programs: GGUF (llama.cpp, Ollama, LM Studio), a GGUF adapter, or
merged safetensors (transformers, vLLM). The PEFT adapter itself is in the run folder already.

Kinds (--to), with the size of Llama 3.1 8B and what the kind adds to that model's perplexity of about 6.2:
  f16          16.1 GB  +0.00  the default; refuses weights beyond 65504
  bf16         16.1 GB  +0.00  exact for models that came as bf16
  q8_0          8.5 GB  +0.00  half of f16, hardly distinguishable
  q6_k          6.6 GB  +0.02
  q5_k_m        5.7 GB  +0.06
  q4_k_m        4.9 GB  +0.18  what most people run
  q4_0          4.7 GB  +0.47  the oldest; only for programs that read nothing newer
  lora          0.2 GB         the adapter alone (r 16), as GGUF, for a base model that stays as it is
  safetensors  16.1 GB         a Hugging Face folder with the adapter merged in

The adapter is added in 32 bits to the weights of the base model's own file, not to the 4 bits of training, and the sum
is rounded once. Where that file is itself in 4 bits (NF4, or a quantised GGUF) it is decoded first, and the result has
lost twice: name an f16 or bf16 base with --base where there is one. Types are mixed by layer as llama-quantize does
without importance matrix, to its bytes; the perplexities are those it states for Llama 3 8B. Small models lose more.`;

export const shape: CommandShape = {
  name: "export",
  summary: kindsText,
  usage: "<run folder | adapter folder | model>",
  most: 1,
  takes: [{ kinds: ["run", "model"] }],
  examples: [
    ["ftl export runs/smollm2-135m-1", "F16 GGUF and Modelfile in runs/smollm2-135m-1/export"],
    ["ftl export runs/smollm2-135m-1 --to q4_k_m,lora", "a far smaller GGUF, and the adapter alone as GGUF"],
    ["ftl export runs/smollm2-135m-1 --to safetensors -o merged", "a Hugging Face folder"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const settings = settingsOf("export", line);
  if (line.positional.length === 0) {
    throw new UserError("Name what to export", { hint: "ftl export runs/smollm2-135m-1", exitCode: 2 });
  }
  const maxBytes = sizeOf(settings.split_max_size);
  const named = lookUp(line.positional[0], { base: settings.base });
  const folder = settings.output_dir ?? join(named.folder ?? named.name, "export");
  const { source, tokenizer } = await openNamedModel(named.model);
  try {
    if (named.adapter !== null) warnOfOtherBase(named.adapter, { model: named.model, name: source.config.name });
    const files = exportModel(named, { source, tokenizer, formats: settings.to, folder, maxBytes });
    for (const { path, bytes } of files) console.log(`${path}  ${showBytes(bytes)}`);
    for (const hint of nextSteps(files.map(({ path }) => path))) console.log(hint);
  } finally {
    source.close();
  }
  return 0;
}

export interface Exported {
  path: string;
  bytes: number;
}

interface ExportOptions {
  source: ModelSource;
  tokenizer: Tokenizer;
  formats: ExportFormat[];
  folder: string;
  /** Of a GGUF file, before it is cut into parts. */
  maxBytes?: number;
}

/** Writes every format asked for and returns the files. Throws UserError; a file that exists is whole. */
export function exportModel(named: Pick<Named, "adapter" | "style" | "name">, options: ExportOptions): Exported[] {
  const { source, tokenizer, formats, folder } = options;
  const adapter = named.adapter === null ? null : loadAdapter(named.adapter, source.config);
  if (!adapter && formats.includes("lora")) {
    throw new UserError(`${source.path} has no adapter to export`, { hint: "give a run folder", exitCode: 2 });
  }
  const chat = chatOf(named.style, { source, tokenizer });
  makeFolder(folder);
  const lock = lockFolder(folder);
  try {
    const written = writeFormats(named, { ...options, adapter, chat });
    return written.map((path) => ({ path, bytes: Deno.statSync(path).size }));
  } finally {
    lock.release();
  }
}

/** Writes every format into the folder, and the Modelfile that belongs to the first GGUF; returns the paths. */
function writeFormats(
  named: Pick<Named, "name">,
  { source, tokenizer, formats, folder, maxBytes, adapter, chat }: ExportOptions & {
    adapter: LoadedAdapter | null;
    chat: ReturnType<typeof chatOf>;
  },
): string[] {
  const written: string[] = [];
  for (const format of formats) {
    using bar = progressBar();
    const progress = (done: number, total: number) => bar.show(`exporting ${format}`, done / total, `${total} tensors`);
    if (format === "lora") {
      const path = join(folder, `${named.name}.lora.gguf`);
      exportLoraGguf(path, { source, adapter: adapter! });
      written.push(path);
    } else if (format === "safetensors") {
      // Of a 4-bit checkpoint the embedding still has the precision that the others are dequantised to.
      const dtype = source.precision(source.tensors[0].name) === "BF16" ? "BF16" : "F16";
      const path = join(folder, "merged");
      exportMergedFolder(path, { source, adapter, dtype, chatTemplate: chat.forFolder, progress });
      written.push(join(path, "model.safetensors"));
    } else {
      const dtype = kinds[format];
      const path = join(folder, `${named.name}.${dtype}.gguf`);
      written.push(...exportGguf(path, { source, adapter, dtype, chatTemplate: chat.forGguf, maxBytes, progress }));
    }
  }
  const gguf = written.find((path) => /(?<!\.lora)\.gguf$/.test(path) && parsePartPath(path) === null);
  if (gguf && chat.go) {
    const ends = tokenizer.eosIds.map((id) => tokenizer.tokenText(id));
    const path = join(folder, "Modelfile");
    writeTextAtomic(path, modelfile({ gguf: basename(gguf), template: chat.go, ends }));
    written.push(path);
  }
  return written;
}

/** The prompt of training as other programs read it: Jinja in the model, Go's template in the Modelfile. */
function chatOf(style: Named["style"], { source, tokenizer }: { source: ModelSource; tokenizer: Tokenizer }) {
  const text = (id: number | null | undefined) => id === null || id === undefined ? "" : tokenizer.tokenText(id);
  if (style === null || style === "chat") {
    if (source.chatTemplate === null) return { go: null };
    const template = {
      template: source.chatTemplate,
      bosToken: text(tokenizer.bosId),
      eosToken: text(tokenizer.eosIds[0]),
    };
    // The runtime puts BOS first by itself where the model's texts begin with it.
    return { go: goTemplateOfChat({ ...template, source: source.path }, { dropBos: tokenizer.addBos }) };
  }
  const texts = {
    withInput: alpacaTemplate(style, { hasInput: true }),
    withoutInput: alpacaTemplate(style, { hasInput: false }),
  };
  const end = text(tokenizer.eosIds[0]);
  return {
    go: goTemplateOfInstruction(texts, { end }),
    forGguf: jinjaOfInstruction(texts, { end, bos: false }),
    forFolder: jinjaOfInstruction(texts, { end, bos: tokenizer.addBos }),
  };
}

/** "500M" or "2GB" in bytes, by powers of 1000 as gguf-split counts; undefined for null. */
function sizeOf(text: string | null): number | undefined {
  if (text === null) return undefined;
  const match = /^(\d+(?:\.\d+)?)([MG])B?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * (match[2].toUpperCase() === "M" ? 1e6 : 1e9) : 0;
  if (bytes > 0) return bytes;
  throw new UserError(`--split-max-size: expected a size such as 500M or 2G, got ${JSON.stringify(text)}`, {
    hint: "See ftl export --help",
    exitCode: 2,
  });
}

/** What to type next with the exported files. */
export function nextSteps(paths: string[]): string[] {
  const modelfilePath = paths.find((path) => basename(path) === "Modelfile");
  if (modelfilePath) return [`next: ollama create my-model -f ${modelfilePath}`];
  const first = paths.find((path) => parsePartPath(path)?.no === 0);
  return first ? [`next: llama-server -m ${first} (the other parts are found beside it; Ollama reads none such)`] : [];
}
