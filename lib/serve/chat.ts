/** POST /v1/chat/completions: OpenAI's chat, whole or as a stream. */
import { type LogprobEntry, mergeAnswers } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import { readBody } from "./body.ts";
import { type ChatEvent, type ChatTask, headOf, prepareChat, startChat, usageOf } from "./chat_task.ts";
import { templateMessages } from "./prompt.ts";
import { samplingOf, stopsOf } from "./sampling.ts";
import { type ChatRequest, chatRequest } from "./schema.ts";
import { findModel, type Service } from "./service.ts";
import { leaving, sseEvent, streamResponse, wholeResponse } from "./sse.ts";

export async function chatCompletions(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, chatRequest, service);
  const task = chatTaskOf(service, body);
  if (body.stream_options && !body.stream) {
    throw new ApiError(400, "stream_options: only allowed with stream", { param: "stream_options" });
  }
  const prepared = await prepareChat(service, task);
  const leave = leaving(request, service.stopping);
  try {
    const answers = await startChat(service, prepared, { n: body.n ?? 1, signal: leave.signal });
    const head = headOf(service, task.model, "chatcmpl-");
    const options = { head, prompt: prepared.tokens.length, wantsLogprobs: task.logprobs !== undefined };
    if (body.stream) {
      const includeUsage = body.stream_options?.include_usage ?? false;
      return streamResponse(chunks(answers, { ...options, includeUsage }), { ...service, leave });
    }
    return wholeResponse(await collect(answers, options), leave);
  } catch (error) {
    leave.abort();
    throw error;
  }
}

/** A request's fields as a task. Errors: ApiError where they contradict each other. */
export function chatTaskOf(service: Service, body: ChatRequest): ChatTask {
  if (typeof body.top_logprobs === "number" && !body.logprobs) {
    throw new ApiError(400, "top_logprobs: only allowed with logprobs", { param: "top_logprobs" });
  }
  const limit = body.max_completion_tokens ?? body.max_tokens ?? -1;
  return {
    model: findModel(service, body.model),
    messages: templateMessages(body.messages),
    tools: body.tools ?? [],
    toolChoice: toolChoiceOf(body),
    parallel: body.parallel_tool_calls ?? true,
    format: formatOf(body.response_format),
    sampling: samplingOf(body, service.tokenizer.vocabSize),
    stops: stopsOf(body.stop),
    maxTokens: limit < 0 ? null : limit,
    logprobs: body.logprobs ? body.top_logprobs ?? 0 : undefined,
  };
}

function toolChoiceOf({ tools, tool_choice: choice }: ChatRequest): ChatTask["toolChoice"] {
  const names = (tools ?? []).map(({ function: { name } }) => name);
  if (choice === null || choice === undefined) return names.length > 0 ? "auto" : "none";
  if (typeof choice === "string") {
    if (choice === "required" && names.length === 0) {
      throw new ApiError(400, 'tool_choice: "required" needs tools', { param: "tool_choice" });
    }
    return choice;
  }
  const name = "function" in choice ? choice.function.name : choice.name;
  if (names.includes(name)) return { name };
  throw new ApiError(400, `tool_choice: there is no tool ${JSON.stringify(name.slice(0, 100))}`, {
    param: "tool_choice",
  });
}

function formatOf(format: ChatRequest["response_format"]): ChatTask["format"] {
  if (!format || format.type === "text") return null;
  const param = "response_format";
  if (format.type === "json_object") return { schema: format.schema ?? { type: "object" }, param };
  const schema = format.json_schema?.schema ?? format.schema;
  if (schema) return { schema, param };
  throw new ApiError(400, "response_format.json_schema.schema: missing; expected a JSON schema", {
    param: "response_format.json_schema",
  });
}

interface AnswerOptions {
  head: { id: string; created: number; model: string; system_fingerprint: string };
  /** Tokens of the prompt. */
  prompt: number;
  wantsLogprobs: boolean;
}

interface Choice {
  content: string;
  calls: { id: string; name: string; arguments: string }[];
  logprobs: LogprobEntry[];
  finish: string;
}

async function collect(answers: AsyncGenerator<ChatEvent>[], { head, prompt, wantsLogprobs }: AnswerOptions) {
  const choices: Choice[] = answers.map(() => ({ content: "", calls: [], logprobs: [], finish: "stop" }));
  let tokens = 0, cached = 0;
  for await (const { index, event } of mergeAnswers(answers)) {
    const choice = choices[index];
    if ("logprobs" in event) choice.logprobs.push(...event.logprobs);
    if (event.kind === "text") choice.content += event.text;
    else if (event.kind === "call") choice.calls[event.index] = { id: event.id, name: event.name, arguments: "" };
    else if (event.kind === "arguments") choice.calls[event.index].arguments += event.text;
    else if (event.kind === "end") {
      choice.finish = event.finish;
      tokens += event.tokens;
      cached = Math.max(cached, event.cachedTokens);
    }
  }
  return {
    ...head,
    object: "chat.completion",
    choices: choices.map(({ content, calls, logprobs, finish }, index) => ({
      index,
      message: {
        role: "assistant",
        content: calls.length > 0 && content === "" ? null : content,
        refusal: null,
        ...(calls.length > 0
          ? { tool_calls: calls.map(({ id, ...rest }) => ({ id, type: "function", function: rest })) }
          : {}),
      },
      logprobs: wantsLogprobs ? { content: logprobs.map(writeLogprob), refusal: null } : null,
      finish_reason: finish,
    })),
    usage: usageOf({ prompt, answer: tokens, cached }),
  };
}

async function* chunks(
  answers: AsyncGenerator<ChatEvent>[],
  { head, prompt, wantsLogprobs, includeUsage }: AnswerOptions & { includeUsage: boolean },
): AsyncGenerator<string> {
  const chunk = (choices: unknown[], more: object = {}) =>
    sseEvent({ ...head, object: "chat.completion.chunk", choices, ...(includeUsage ? { usage: null } : {}), ...more });
  const choice = (index: number, delta: object, logprobs: LogprobEntry[] = [], finish: string | null = null) =>
    chunk([{
      index,
      delta,
      logprobs: wantsLogprobs && logprobs.length > 0 ? { content: logprobs.map(writeLogprob), refusal: null } : null,
      finish_reason: finish,
    }]);
  for (let index = 0; index < answers.length; index++) yield choice(index, { role: "assistant", content: "" });
  let tokens = 0, cached = 0;
  for await (const { index, event } of mergeAnswers(answers)) {
    switch (event.kind) {
      case "text":
        yield choice(index, { content: event.text }, event.logprobs);
        break;
      case "call": {
        const { id, name } = event;
        const call = { index: event.index, id, type: "function", function: { name, arguments: "" } };
        yield choice(index, { tool_calls: [call] });
        break;
      }
      case "arguments":
        yield choice(index, { tool_calls: [{ index: event.index, function: { arguments: event.text } }] });
        break;
      case "end":
        tokens += event.tokens;
        cached = Math.max(cached, event.cachedTokens);
        yield choice(index, {}, event.logprobs, event.finish);
    }
  }
  if (includeUsage) yield chunk([], { usage: usageOf({ prompt, answer: tokens, cached }) });
  yield sseEvent("[DONE]");
}

function writeLogprob({ top, ...entry }: LogprobEntry) {
  return { ...entry, top_logprobs: top };
}
