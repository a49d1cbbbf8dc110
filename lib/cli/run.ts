/** `ftl run`: asks a model once, or chats with it in the terminal, with or without an adapter. */
import type { Message } from "../text/chat_template.ts";
import { UserError } from "../errors.ts";
import type { Generator } from "../model/generate.ts";
import { loadAdapter } from "../model/load_adapter.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { chooseEngine } from "./engine.ts";
import { generatorOf, type LoadedModel, loadOpenedModel, openNamedModel } from "./load.ts";
import type { Settings } from "./options.ts";
import { warnOfOtherBase } from "./other_base.ts";
import { answerPieces, promptIds } from "./prompts.ts";
import type { PromptStyle } from "./rows.ts";
import { lookUp, type Named, noAdapter } from "./saved_run.ts";
import { onInterrupt, printable, writeOut } from "./terminal.ts";

type RunSettings = Settings<"run">;

export const shape: CommandShape = {
  name: "run",
  summary: "Asks a model and prints its answer. Without a question it chats; a question may also come from a pipe.",
  usage: "[run folder | adapter folder | model] [question]",
  most: 2,
  takes: [{ kinds: ["run", "model"] }, {}],
  examples: [
    ["ftl run runs/smollm2-135m-1", "chat with what was trained"],
    ['ftl run runs/smollm2-135m-1 "What is jollof?"', "ask it once"],
    ['ftl run smollm2-135m "What is jollof?"', "ask the base model"],
    ["ftl run model.gguf --adapter adapter/ -t 0.7 < question.txt", "any model and adapter, sampled"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const settings = settingsOf("run", line);
  const { named, question } = await whatAndQuestion(line, settings);
  const engine = await chooseEngine(settings.engine);
  const opened = await openNamedModel(named.model);
  const { threads } = settings;
  const model = await loadOpenedModel(opened, { engine, threads, purpose: "answers" });
  try {
    if (named.adapter !== null) warnOfOtherBase(named.adapter, { model: named.model, name: opened.source.config.name });
    const adapter = named.adapter === null ? null : loadAdapter(named.adapter, model.source.config);
    const generator = await generatorOf(model, adapter);
    const asked = { tokenizer: model.tokenizer, style: styleOf(settings, named) };
    if (question === null) await chat(generator, { ...asked, settings });
    else {
      const messages: Message[] = [...systemOf(settings), { role: "user", content: question }];
      await answer(generator, { ...asked, settings, messages });
    }
  } finally {
    await model.close();
  }
  return 0;
}

/** The positional arguments: a model and a question, either of which may be left out. */
async function whatAndQuestion(
  line: CommandLine,
  settings: RunSettings,
): Promise<{ named: Named; question: string | null }> {
  const [what = "smollm2-135m", asked] = line.positional;
  const named = lookUp(what, { base: settings.base });
  if (settings.adapter.length > 1) {
    throw new UserError("ftl run takes one --adapter", { hint: "ftl serve answers with several", exitCode: 2 });
  }
  if (settings.adapter.length === 1) {
    const { adapter, style } = lookUp(settings.adapter[0], { base: named.model });
    if (adapter === null) throw noAdapter(settings.adapter[0]);
    Object.assign(named, { adapter, style });
  }
  if (asked === "") throw new UserError("The question is empty", { hint: 'ftl run MODEL "a question"', exitCode: 2 });
  if (asked !== undefined) return { named, question: asked };
  if (Deno.stdin.isTerminal()) return { named, question: null };
  const piped = (await new Response(Deno.stdin.readable).text()).trim();
  if (piped === "") {
    throw new UserError("No question: the input is empty", { hint: 'ftl run MODEL "a question"', exitCode: 2 });
  }
  return { named, question: piped };
}

function styleOf(settings: RunSettings, named: Named): PromptStyle | null {
  return settings.prompt_style === "auto" ? named.style : settings.prompt_style;
}

function systemOf(settings: RunSettings): Message[] {
  return settings.system === null ? [] : [{ role: "system", content: settings.system }];
}

interface Conversation {
  tokenizer: LoadedModel["tokenizer"];
  style: PromptStyle | null;
  settings: RunSettings;
}

/** Prints the answer as it is made, and returns it. Ctrl-C ends the answer, not the conversation. */
async function answer(generator: Generator, options: Conversation & { messages: Message[] }): Promise<string> {
  const { settings, tokenizer, messages } = options;
  const { temperature, top_p, top_k, repetition_penalty, seed, max_new_tokens } = settings;
  const interrupt = onInterrupt(() => {});
  let text = "";
  try {
    const sampling = { temperature, top_p, top_k, repetition_penalty, seed, maxNewTokens: max_new_tokens, tokenizer };
    for await (const piece of answerPieces(generator, promptIds(messages, options), sampling)) {
      const shown = text === "" ? piece.trimStart() : piece;
      await writeOut(printable(shown));
      text += shown;
      if (interrupt.signal.aborted) break;
    }
    await writeOut("\n");
  } finally {
    interrupt.release();
  }
  return text;
}

async function chat(generator: Generator, options: Conversation): Promise<void> {
  console.log("Type a question; /new starts over, /bye or Ctrl-D ends.");
  let messages: Message[] = systemOf(options.settings);
  for (let question = prompt("\n>"); question !== null && question.trim() !== "/bye"; question = prompt("\n>")) {
    if (question.trim() === "") continue;
    if (question.trim() === "/new") {
      messages = systemOf(options.settings);
      continue;
    }
    messages.push({ role: "user", content: question });
    messages.push({ role: "assistant", content: await answer(generator, { ...options, messages }) });
  }
}
