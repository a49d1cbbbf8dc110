/** `ftl export`: a trained model as GGUF with an Ollama Modelfile, as a GGUF adapter, or as merged safetensors. */
import { basename, join } from "node:path";
import { UserError } from "../errors.ts";
import { alpacaTemplate } from "../data/prompt.ts";
import { goTemplateOfChat, goTemplateOfInstruction } from "../export/go_template.ts";
import { exportGguf } from "../export/gguf.ts";
import { jinjaOfInstruction } from "../export/instruction_jinja.ts";
import { exportLoraGguf } from "../export/lora_gguf.ts";
import { exportMergedFolder } from "../export/merged_folder.ts";
import { modelfile } from "../export/modelfile.ts";
import { writeAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { loadAdapter } from "../model/load_adapter.ts";
import type { ModelSource } from "../model/source.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { readCommandLine, settingsOf } from "./command_line.ts";
import { openNamedModel } from "./load.ts";
import { type Settings } from "./options.ts";
import { warnOfOtherBase } from "./other_base.ts";
import { progressBar } from "./progress.ts";
import { lookUp, type Named } from "./saved_run.ts";
import { showBytes } from "./terminal.ts";

export type ExportFormat = Settings<"export">["to"][number];

const storedTypes = { f16: "F16", bf16: "BF16", q8_0: "Q8_0" } as const;

export async function command(args: string[]): Promise<number> {
  const line = readCommandLine({
    name: "export",
    summary: "Writes a trained model for other programs: GGUF (llama.cpp, Ollama, LM Studio), a GGUF adapter, or\n" +
      "merged safetensors (transformers, vLLM). The PEFT adapter itself is in the run folder already.",
    usage: "<run folder | adapter folder | model>",
    most: 1,
    examples: [
      ["ftl export runs/smollm2-135m-1", "F16 GGUF and Modelfile in runs/smollm2-135m-1/export"],
      ["ftl export runs/smollm2-135m-1 --to q8_0,lora", "a smaller GGUF, and the adapter alone as GGUF"],
      ["ftl export runs/smollm2-135m-1 --to safetensors -o merged", "a Hugging Face folder"],
    ],
  }, args);
  if ("help" in line) {
    console.log(line.help);
    return 0;
  }
  const settings = settingsOf("export", line);
  if (line.positional.length === 0) {
    throw new UserError("Name what to export", { hint: "ftl export runs/smollm2-135m-1", exitCode: 2 });
  }
  const named = lookUp(line.positional[0], { base: settings.base });
  const folder = settings.output ?? join(named.folder ?? named.name, "export");
  const { source, tokenizer } = await openNamedModel(named.model);
  try {
    if (named.adapter !== null) warnOfOtherBase(named.adapter, { model: named.model, name: source.config.name });
    const files = exportModel(named, { source, tokenizer, formats: settings.to, folder });
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

/** Writes every format asked for and returns the files. Throws UserError; a file that exists is whole. */
export function exportModel(
  named: Pick<Named, "adapter" | "style" | "name">,
  options: { source: ModelSource; tokenizer: Tokenizer; formats: ExportFormat[]; folder: string },
): Exported[] {
  const { source, tokenizer, formats, folder } = options;
  const adapter = named.adapter === null ? null : loadAdapter(named.adapter, source.config);
  if (!adapter && formats.includes("lora")) {
    throw new UserError(`${source.path} has no adapter to export`, { hint: "give a run folder", exitCode: 2 });
  }
  const chat = chatOf(named.style, { source, tokenizer });
  makeFolder(folder);
  const bar = progressBar();
  const written: string[] = [];
  for (const format of formats) {
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
      const dtype = storedTypes[format];
      const path = join(folder, `${named.name}.${dtype}.gguf`);
      exportGguf(path, { source, adapter, dtype, chatTemplate: chat.forGguf, progress });
      written.push(path);
    }
  }
  bar.end();
  const gguf = written.find((path) => path.endsWith(".gguf") && !path.endsWith(".lora.gguf"));
  if (gguf && chat.go) {
    const ends = tokenizer.eosIds.map((id) => tokenizer.tokenText(id));
    const path = join(folder, "Modelfile");
    writeAtomic(path, new TextEncoder().encode(modelfile({ gguf: basename(gguf), template: chat.go, ends })));
    written.push(path);
  }
  return written.map((path) => ({ path, bytes: Deno.statSync(path).size }));
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

/** What to type next with the exported files. */
export function nextSteps(paths: string[]): string[] {
  const modelfilePath = paths.find((path) => basename(path) === "Modelfile");
  return modelfilePath ? [`next: ollama create my-model -f ${modelfilePath}`] : [];
}
