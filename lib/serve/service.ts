/**
 * What every route works with: the engine, the tokenizer, how prompts are written, and the server's settings; and which
 * served model a name in a request means.
 */
import type { Message } from "../text/chat_template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { AdapterDoor } from "./adapter_routes.ts";
import { ApiError } from "./api_error.ts";
import type { Engine, ServedModel } from "./engine.ts";
import type { Grammars } from "./grammars.ts";
import type { Metrics } from "./metrics.ts";

/** How one model wants to be asked. */
export interface PromptForm {
  /** Its chat template; null: it has none, and the last message is the prompt. */
  template: string | null;
  /** A form that an adapter was trained with, in the template's place. */
  write?: (messages: Message[]) => string;
}

export interface ServiceSettings {
  engine: Engine;
  /** Of the base model, and so of every adapter on it. */
  tokenizer: Tokenizer;
  promptForm(model: string): PromptForm;
  /** The id of the model that foreign names get; null: the first. */
  defaultModel: string | null;
  /** The program's: "0.1.0". */
  version: string;
  /** Wanted of every request but for the page and /health; null: none. */
  apiKey: string | null;
  /** Origins of pages that may ask, beside the server's own and those of this machine; "*": all. */
  corsOrigins: string[];
  /** Names by which the server may be called, beside this machine's own and addresses. */
  hosts: string[];
  /** Bytes of a request. */
  bodyLimit: number;
  /** Milliseconds without a byte after which a sender is given up. */
  bodyTimeout: number;
  /** Milliseconds of silence after which a stream says that it lives. */
  keepAlive: number;
  /** System message of the page's conversations; null: none. */
  systemPrompt: string | null;
  /** By which adapters come and go; null: they do not. */
  adapters: AdapterDoor | null;
  /** The chat page; null: none is served. */
  page: string | null;
  /** Gets the errors that clients are not told. */
  report(error: unknown): void;
}

export interface Service extends ServiceSettings {
  grammars: Grammars;
  metrics: Metrics;
  /** Names of adapters that were taken away. */
  removed: Set<string>;
  /** Ends every answer that is under way. */
  stopping: AbortSignal;
}

/**
 * The served model that a request means. A foreign name gets the default model, since clients come with names of their
 * own, and the answer says which model it is from. A name that nearly is one of several served ones is a mistake that
 * would compare a model with itself: 404, and so is that of an adapter that was taken away.
 */
export function findModel({ engine, defaultModel, removed }: Service, name: string | null | undefined): ServedModel {
  const models = engine.models();
  const wanted = (name ?? "").trim();
  const found = lookUpModel(models, wanted);
  if (found) return found;
  const near = models.length > 1 && wanted !== ""
    ? models.find(({ id, aliases }) => [id, ...aliases].some((known) => resembles(known, wanted)))
    : undefined;
  if (near || removed.has(wanted)) throw modelNotFound(models, wanted);
  return firstOf(models, defaultModel);
}

/** So many answers to one request. Errors: ApiError where there will never be a place for all of them. */
export function checkPlaces({ engine }: Pick<Service, "engine">, wanted: number, param: string): void {
  if (wanted <= engine.places) return;
  throw new ApiError(
    400,
    `${param}: ${wanted} answers are wanted at once, this server has places for ${engine.places}`,
    {
      param,
      code: "invalid_value",
    },
  );
}

/** The model that is meant where none is named. */
export function firstOf(models: ServedModel[], defaultModel: string | null): ServedModel {
  return models.find(({ id }) => id === defaultModel) ?? models[0];
}

/** The model of exactly this name; Ollama's clients add ":latest". */
export function lookUpModel(models: ServedModel[], name: string): ServedModel | undefined {
  const names = [name, name.replace(/:latest$/, "")];
  return models.find(({ id, aliases }) => names.some((wanted) => id === wanted || aliases.includes(wanted)));
}

export function modelNotFound(models: ServedModel[], name: string, param = "model"): ApiError {
  const served = models.map(({ id }) => id).join(", ");
  return new ApiError(404, `The model ${JSON.stringify(name.slice(0, 200))} does not exist. Served: ${served}.`, {
    param,
    code: "model_not_found",
  });
}

/** Whether two names have at least half of the longer one as their common beginning. */
function resembles(a: string, b: string): boolean {
  let common = 0;
  while (common < Math.min(a.length, b.length) && a[common].toLowerCase() === b[common].toLowerCase()) common++;
  return common * 2 >= Math.max(a.length, b.length);
}
