/**
 * The fields of OpenAI's requests that are read, and what they may be. Unknown fields are ignored, and null means
 * absent, since clients send both.
 */
import { z } from "zod";

/** Says what was expected and what came, as long as that is short. */
const expected = (what: string) => ({
  error: ({ input }: { input?: unknown }) =>
    input === undefined ? `missing; expected ${what}` : `expected ${what}, got ${show(input)}`,
});

function show(value: unknown): string {
  if (value === null || value === undefined) return value === null ? "null" : "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "an object";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

export const text = z.string(expected("text"));
export const flag = z.boolean(expected("true or false")).nullish();
export const anything = z.looseObject({}, expected("an object"));

export function number(min: number, max: number) {
  const says = expected(`a number from ${min} to ${max}`);
  return z.number(says).min(min, says).max(max, says).nullish();
}

export function integer(min: number, max: number) {
  const says = expected(`a whole number from ${min} to ${max}`);
  return z.number(says).int(says).min(min, says).max(max, says).nullish();
}

export const name = text.max(256, expected("at most 256 characters")).nullish();

const most = 2 ** 31 - 1;
/** -1 is what some clients send for "as many as there may be". */
export const tokenCount = z.union([z.literal(-1), z.int().min(1).max(most)], expected("a whole number, at least 1"))
  .nullish();

export const stop = z.union(
  [z.string(), z.array(z.string()).max(4)],
  expected("text, or a list of at most 4 texts"),
).nullish();

/** What every kind of request may say about sampling. */
export const sampling = {
  model: name,
  temperature: number(0, 2),
  top_p: number(0, 1),
  top_k: integer(-1, most),
  min_p: number(0, 1),
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  repetition_penalty: number(0.01, 10),
  repeat_penalty: number(0.01, 10),
  seed: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  logit_bias: z.record(
    z.string().regex(/^\d{1,9}$/, { error: "expected token ids as keys" }),
    z.number(expected("a number from -100 to 100")).min(-100, expected("a number from -100 to 100")).max(
      100,
      expected("a number from -100 to 100"),
    ),
    expected("an object of token ids and biases"),
  ).nullish(),
  stop,
  max_tokens: tokenCount,
  n: integer(1, 128),
  stream: flag,
  stream_options: z.object({ include_usage: flag }, expected("an object")).nullish(),
};

const textPart = z.object({
  type: z.enum(["text", "input_text", "output_text", "refusal"], {
    error: ({ input }) => `this model reads text only, not ${show(input)}`,
  }),
  text: z.string(expected("text")).optional(),
  refusal: z.string(expected("text")).optional(),
}, expected("a part with type and text")).transform((part, context) => {
  const content = part.text ?? part.refusal;
  if (content === undefined) context.addIssue({ code: "custom", message: "missing; expected text", path: ["text"] });
  return content ?? "";
});

/** Text, or a list of text parts, which are put together. Checked by kind, so that a wrong part is named. */
export const content = z.unknown().optional().transform((value, context): string | null => {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) {
    context.addIssue({ code: "custom", message: `expected text or a list of text parts, got ${show(value)}` });
    return null;
  }
  const parts = z.array(textPart).safeParse(value);
  if (parts.success) return parts.data.join("");
  for (const { message, path } of parts.error.issues) context.addIssue({ code: "custom", message, path });
  return null;
});

const toolCall = z.object({
  id: z.string(expected("text")).nullish(),
  type: z.string().nullish(),
  function: z.object({
    name: z.string(expected("text")),
    arguments: z.union([z.string(), z.record(z.string(), z.unknown())], expected("text of a JSON object")).nullish(),
  }, expected("an object with name and arguments")),
}, expected("an object with id and function"));

const roles = ["system", "developer", "user", "assistant", "tool", "function"] as const;

export const message = z.object({
  role: z.enum(roles, expected(`one of ${roles.join(", ")}`)),
  content,
  name: z.string(expected("text")).nullish(),
  tool_calls: z.array(toolCall, expected("a list of tool calls")).nullish(),
  tool_call_id: z.string(expected("text")).nullish(),
}, expected("a message with role and content")).superRefine((value, context) => {
  if (value.content === null && value.role !== "assistant") {
    context.addIssue({ code: "custom", path: ["content"], message: "missing; expected text or a list of text parts" });
  }
});

export const functionSpec = z.object({
  name: z.string(expected("text")).regex(/^[\w.-]{1,128}$/, { error: "expected 1 to 128 letters, digits, . _ or -" }),
  description: z.string(expected("text")).nullish(),
  parameters: anything.nullish(),
  strict: flag,
}, expected("an object with name and parameters"));

export const tool = z.object({
  type: z.literal("function", expected('"function"')),
  function: functionSpec,
}, expected("an object with type and function"));

const jsonSchemaFormat = z.object({
  name: z.string(expected("text")).nullish(),
  schema: anything.nullish(),
  strict: flag,
}, expected("an object with name and schema"));

const formats = ["text", "json_object", "json_schema"] as const;

export const responseFormat = z.object({
  type: z.enum(formats, expected(`one of ${formats.join(", ")}`)),
  json_schema: jsonSchemaFormat.nullish(),
  /** Some clients put the schema here. */
  schema: anything.nullish(),
}, expected("an object with a type")).nullish();

const choices = ["none", "auto", "required"] as const;

export const toolChoice = z.union([
  z.enum(choices),
  z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
  // As the Responses API has it.
  z.object({ type: z.literal("function"), name: z.string() }),
], expected(`one of ${choices.join(", ")}, or a function's name`)).nullish();

export const chatRequest = z.object({
  ...sampling,
  messages: z.array(message, expected("a list of messages")).min(1, { error: "expected at least one message" }),
  max_completion_tokens: tokenCount,
  logprobs: flag,
  top_logprobs: integer(0, 20),
  response_format: responseFormat,
  tools: z.array(tool, expected("a list of tools")).max(128, { error: "expected at most 128 tools" }).nullish(),
  tool_choice: toolChoice,
  parallel_tool_calls: flag,
}, expected("a JSON object"));

export type ChatRequest = z.output<typeof chatRequest>;
export type RequestMessage = z.output<typeof message>;
export type RequestTool = z.output<typeof tool>;

const ids = z.array(z.int().min(0));
export const completionRequest = z.object({
  ...sampling,
  prompt: z.union(
    [z.string(), z.array(z.string()).min(1).max(128), ids.min(1), z.array(ids.min(1)).min(1).max(128)],
    expected("text, token ids, or a list of at most 128 of either"),
  ),
  logprobs: integer(0, 20),
  echo: flag,
  suffix: text.nullish(),
}, expected("a JSON object"));

export type CompletionRequest = z.output<typeof completionRequest>;

export const embeddingRequest = z.object({
  model: name,
  input: z.union(
    [
      z.string().min(1),
      z.array(z.string().min(1)).min(1).max(2048),
      ids.min(1),
      z.array(ids.min(1)).min(1).max(2048),
    ],
    expected("text that is not empty, token ids, or a list of at most 2048 of either"),
  ),
  encoding_format: z.enum(["float", "base64"], expected("float or base64")).nullish(),
  dimensions: integer(1, most),
}, expected("a JSON object"));

/** How a request wants the next token to be chosen, with OpenAI's defaults. */
export type SamplingRequest = Partial<
  Pick<
    ChatRequest,
    | "temperature"
    | "top_p"
    | "top_k"
    | "min_p"
    | "presence_penalty"
    | "frequency_penalty"
    | "repetition_penalty"
    | "repeat_penalty"
    | "seed"
    | "logit_bias"
  >
>;
