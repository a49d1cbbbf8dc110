/** The fields of Ollama's requests that are read, and the chat that such a request stands for. */
import { z } from "zod";
import { check } from "./body.ts";
import { anything, type ChatRequest, chatRequest, flag, integer, name, number, text } from "./schema.ts";

const most = 2 ** 31 - 1;

const options = z.object({
  temperature: number(0, 2),
  top_p: number(0, 1),
  top_k: integer(-1, most),
  min_p: number(0, 1),
  seed: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  num_predict: integer(-2, most),
  repeat_penalty: number(0.01, 10),
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  stop: z.union([z.string(), z.array(z.string()).max(4)], { error: "expected text, or a list of at most 4 texts" })
    .nullish(),
}, { error: "expected an object" }).nullish();

const noImages = z.array(z.unknown()).max(0, { error: "this model reads text only" }).nullish();

const common = {
  model: name,
  stream: flag,
  /** "json", or a JSON schema. */
  format: z.union([z.literal("json"), z.literal(""), anything], { error: 'expected "json" or a JSON schema' })
    .nullish(),
  options,
};

export const ollamaChat = z.object({
  ...common,
  messages: z.array(z.looseObject({ role: z.string(), content: z.string().nullish(), images: noImages })).nullish(),
  tools: z.array(anything).nullish(),
}, { error: "expected a JSON object" });

export const ollamaGenerate = z.object({
  ...common,
  prompt: text.nullish(),
  system: text.nullish(),
  raw: flag,
  images: noImages,
  suffix: z.literal("", { error: "this server does not fill gaps" }).nullish(),
}, { error: "expected a JSON object" });

export const ollamaShow = z.object({ model: name, name, verbose: flag }, { error: "expected a JSON object" });

type Common = Pick<z.output<typeof ollamaChat>, "model" | "format" | "options">;

/** Ollama's defaults of sampling differ from OpenAI's. */
export function chatFields({ model, format, options }: Common): object {
  const { num_predict: limit, ...sampling } = options ?? {};
  const given = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== null));
  return {
    model,
    temperature: 0.8,
    top_k: 40,
    top_p: 0.9,
    ...given,
    max_tokens: typeof limit === "number" && limit > 0 ? limit : null,
    response_format: !format
      ? null
      : format === "json"
      ? { type: "json_object" }
      : { type: "json_schema", json_schema: { schema: format } },
  };
}

export function chatOf(body: z.output<typeof ollamaChat>): ChatRequest {
  const messages = (body.messages ?? []).map(({ images: _, tool_name: name, ...message }) => ({
    ...message,
    ...(typeof name === "string" ? { name } : {}),
    content: message.content ?? (message.role === "assistant" ? null : ""),
  }));
  return check({ ...chatFields(body), messages, tools: body.tools }, chatRequest);
}
