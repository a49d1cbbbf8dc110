/** What `ftl` says of itself: its version, and the commands in the order a person meets them. */
import manifest from "../../deno.json" with { type: "json" };

export const version = `ftl ${manifest.version}`;

export const overview = `${version}: fine-tunes a language model on one ordinary machine

Usage: ftl <command> [options]

  train    fine-tune a model on your rows (QLoRA)
  run      ask a model once, or chat with it, with or without an adapter
  serve    answer over HTTP as OpenAI's API does, base and tuned model side by side, with a chat page
  export   write a trained model as GGUF with an Ollama Modelfile, or as safetensors
  eval     measure what a training did: memorised, learned, forgotten, base beside tuned
  compare  ask any number of models the same questions, local ones and remote ones
  pull     fetch a model into the cache
  doctor   show what this machine offers and which engine ftl takes there

ftl <command> --help shows every setting of a command, with examples.

Examples:
  ftl train                              train the default model on the sample rows, about three minutes
  ftl train --data rows.jsonl            train on your own rows
  ftl run runs/smollm2-135m-1            chat with what was trained
  ftl serve runs/smollm2-135m-1          the same for programs and browsers
  ftl eval runs/smollm2-135m-1           measure what it learned
  ftl export runs/smollm2-135m-1         write it as GGUF for Ollama and llama.cpp

Environment: FTL_CACHE    folder of models (default: ftl in your cache folder)
             FTL_API_KEY  key that ftl serve wants of its clients
             FTL_REMOTE_KEY, OPENAI_API_KEY, DEEPSEEK_API_KEY
                          keys of the remote models of ftl compare
             FTL_DEBUG    1: show stacks of errors`;
