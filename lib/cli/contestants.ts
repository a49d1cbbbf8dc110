/**
 * The models of a comparison and how each is asked what the log does not hold yet: local ones one question at a time, as
 * `ftl run` does, so that their speed is that of one answer; remote ones several at a time.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { answerAll } from "../eval/answer.ts";
import type { ModelFacts } from "../eval/comparison.ts";
import type { Question } from "../eval/questions.ts";
import { ChatFailure } from "../hub/chat_failure.ts";
import { makeRemoteModel } from "../hub/remote_model.ts";
import type { Generator } from "../model/generate.ts";
import { loadAdapter } from "../model/load_adapter.ts";
import { kindOfPath } from "../model/model_files.ts";
import { type AnswerLog, keyOf, type LoggedAnswer } from "./answer_log.ts";
import { chooseEngine } from "./engine.ts";
import { questionIds, styleToAsk } from "./eval_rows.ts";
import { generatorOf, type LoadedModel, loadOpenedModel, type OpenedModel, openNamedModel } from "./load.ts";
import type { Settings } from "./options.ts";
import type { Price, Remote } from "./remotes.ts";
import type { Named } from "./saved_run.ts";

export type CompareSettings = Settings<"compare">;

export interface Asking {
  questions: Question[];
  log: AnswerLog;
  settings: CompareSettings;
  signal: AbortSignal;
  show: (text: string) => void;
}

/** A model that has been asked: what is known of it, and the key of each question's answer. */
export interface Asked {
  facts: ModelFacts;
  keys: string[];
}

/** Greedy, so that an answer is the model's likeliest. */
export const temperature = 0;

/** The questions whose answers the log does not hold, each key once. */
function missing(keys: string[], { questions, log }: Asking): { key: string; question: Question }[] {
  const seen = new Set<string>();
  return keys.flatMap((key, i) => {
    if (log.has(key) || seen.has(key)) return [];
    seen.add(key);
    return [{ key, question: questions[i] }];
  });
}

export async function askRemote({ name, endpoint }: Remote, asking: Asking & { price: Price | null }): Promise<Asked> {
  const { questions, log, settings, signal, show, price } = asking;
  const { seed, max_new_tokens: maxTokens, retries, timeout, per_minute: perMinute, at_once } = settings;
  const requestOf = ({ messages }: Question) => ({
    messages: messages.map(({ role, content }) => ({ role, content })),
    ...{ temperature, seed, maxTokens },
  });
  const keys = questions.map((question) => keyOf([endpoint.baseUrl, endpoint.model, requestOf(question)]));
  const left = missing(keys, asking), total = left.length;
  const remote = makeRemoteModel({
    ...{ endpoint, retries, timeout: timeout * 1000, perMinute, seed },
    onWait: ({ message }, wait) => show(`${name}: waiting ${Math.ceil(wait / 1000)} s: ${message}`),
  });
  let done = 0;
  const ask = async ({ key, question }: { key: string; question: Question }) => {
    const head = { key, model: name, question: question.shown };
    try {
      const { text, finish, promptTokens, answerTokens, leftOut, ...times } = await remote.ask(
        requestOf(question),
        signal,
      );
      log.add({
        ...{ ...head, text, finish, prompt_tokens: promptTokens, answer_tokens: answerTokens },
        ...{ first_token_ms: times.firstToken, total_ms: times.total },
        ...leftOut.length > 0 && { left_out: leftOut },
      });
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ChatFailure)) throw error;
      log.add({ ...head, error: error.message });
    }
    show(`${name}: ${++done} of ${total} answers`);
  };
  const worker = async () => {
    for (let next = left.shift(); next && !signal.aborted; next = left.shift()) await ask(next);
  };
  await Promise.all(Array.from({ length: Math.min(at_once, total) }, worker));
  return { facts: { name, kind: "remote", parameters: null, bytes: null, price }, keys };
}

export interface LocalContestant {
  /** As it was named. */
  name: string;
  named: Named;
  price: Price | null;
}

/** Asks models that share a base; the weights are loaded only when an answer is missing, and once. */
export async function askLocal(contestants: LocalContestant[], asking: Asking): Promise<Asked[]> {
  const opened = await openNamedModel(contestants[0].named.model);
  let model: LoadedModel | undefined;
  try {
    const asked: Asked[] = [];
    for (const { name, named, price } of contestants) {
      const prompts = promptsOf(named, opened, asking);
      const identity = identityOf(named, opened), { max_new_tokens, seed } = asking.settings;
      const keys = prompts.map((prompt) => keyOf([identity, prompt, { temperature, max_new_tokens, seed }]));
      const left = missing(keys, asking);
      if (left.length > 0 && !asking.signal.aborted) {
        model ??= await load(opened, asking.settings);
        const promptOf = new Map(keys.map((key, i) => [key, prompts[i]]));
        const items = left.map(({ key, question }) => ({ key, question, prompt: promptOf.get(key)! }));
        const adapter = named.adapter === null ? null : loadAdapter(named.adapter, opened.source.config);
        await answerLocally(items, { generator: await generatorOf(model, adapter), name, model, asking });
      }
      asked.push({ facts: { name, kind: "local", price, ...sizesOf(named, opened) }, keys });
    }
    return asked;
  } finally {
    if (model) await model.close();
    else opened.source.close();
  }
}

function promptsOf(named: Named, { tokenizer }: OpenedModel, { questions, settings }: Asking): number[][] {
  const style = styleToAsk(settings.prompt_style, { named, tokenizer });
  return questions.map((question) => questionIds(question, { tokenizer, style }));
}

/** What tells a model and an adapter from others of the same name, trained anew for example. */
function identityOf({ adapter }: Named, { source }: OpenedModel): { model: string; adapter: string | null } {
  const hash = createHash("sha256");
  for (const file of adapter === null ? [] : ["adapter_config.json", "adapter_model.safetensors"]) {
    hash.update(Deno.readFileSync(join(adapter!, file)));
  }
  return { model: source.fingerprint(), adapter: adapter === null ? null : hash.digest("hex") };
}

/** Numbers in the model, and bytes of its files as they lie on the disk, the adapter's included. */
function sizesOf({ adapter }: Named, { source, parameters }: OpenedModel): { parameters: number; bytes: number } {
  return { parameters, bytes: weightBytes(source.path) + (adapter === null ? 0 : weightBytes(adapter)) };
}

function weightBytes(path: string): number {
  if (kindOfPath(path) === "file") return Deno.statSync(path).size;
  const files = [...Deno.readDirSync(path)].filter(({ name }) => name.endsWith(".safetensors"));
  return files.reduce((sum, { name }) => sum + Deno.statSync(join(path, name)).size, 0);
}

async function load(opened: OpenedModel, { engine, threads }: CompareSettings): Promise<LoadedModel> {
  return await loadOpenedModel(opened, { engine: await chooseEngine(engine), threads, purpose: "answers" });
}

async function answerLocally(
  items: { key: string; question: Question; prompt: number[] }[],
  { generator, name, model, asking }: { generator: Generator; name: string; model: LoadedModel; asking: Asking },
): Promise<void> {
  const { log, settings, signal, show } = asking;
  const answers = answerAll(generator, items.map(({ prompt }) => prompt), {
    tokenizer: model.tokenizer,
    maxNewTokens: settings.max_new_tokens,
    temperature,
    seed: settings.seed,
    together: 1,
    signal,
    progress: ({ answers }) => show(`${name}: ${answers} of ${items.length} answers`),
  });
  for await (const { prompt: i, text, finish, tokens, firstToken, total } of answers) {
    const { key, question, prompt } = items[i];
    const answer: LoggedAnswer = { key, model: name, question: question.shown, text, finish };
    log.add({
      ...answer,
      ...{ prompt_tokens: prompt.length, answer_tokens: tokens, first_token_ms: firstToken, total_ms: total },
    });
  }
}
