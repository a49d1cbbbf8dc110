/**
 * One chat request, whatever API it came by: from messages, tools and wishes to the engine's request, and from its
 * tokens to events of text, calls and the end.
 */
import type { Message } from "../text/chat_template.ts";
import { type LogprobEntry, startAnswer } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { ServedModel, TokenRequest } from "./engine.ts";
import type { GrammarSpec } from "./grammars.ts";
import { promptText, promptTokens } from "./prompt.ts";
import { promptAndEnd, type Sampling } from "./sampling.ts";
import type { RequestTool } from "./schema.ts";
import { boundedSchema } from "./schema_limits.ts";
import { checkPlaces, type Service } from "./service.ts";
import { type ToolFormat, toolFormatOf } from "./tool_formats.ts";
import { parseToolCalls, type ToolEvent } from "./tool_parser.ts";

export interface ChatTask {
  model: ServedModel;
  messages: Message[];
  tools: RequestTool[];
  toolChoice: "none" | "auto" | "required" | { name: string };
  /** Whether an answer may call more than once. */
  parallel: boolean;
  /** The JSON that the answer must be; null: any text. */
  format: { schema: Record<string, unknown>; param: string } | null;
  sampling: Sampling;
  stops: string[];
  /** null: to the end of the context. */
  maxTokens: number | null;
  logprobs?: number;
}

export interface PreparedChat {
  task: ChatTask;
  tokens: Int32Array;
  /** How calls are written, where the answer may have any. */
  tools: ToolFormat | null;
  grammar: { spec: GrammarSpec; param: string } | null;
}

export type ChatEvent =
  | { kind: "text"; text: string; logprobs: LogprobEntry[] }
  | { kind: "call"; index: number; id: string; name: string }
  | { kind: "arguments"; index: number; text: string }
  | { kind: "called"; index: number }
  | {
    kind: "end";
    finish: "stop" | "length" | "tool_calls";
    tokens: number;
    cachedTokens: number;
    logprobs: LogprobEntry[];
  };

/** Renders and tokenizes the prompt. Errors: ApiError, UserError. */
export async function prepareChat(service: Service, task: ChatTask): Promise<PreparedChat> {
  const { tokenizer, engine: { contextLength } } = service;
  const form = service.promptForm(task.model.id);
  const offered = task.toolChoice === "none" ? [] : task.tools;
  const text = promptText({ messages: task.messages, tools: offered }, form, tokenizer);
  const tokens = await promptTokens(text, { tokenizer, contextLength, param: "messages" });
  if (tokens.length === 0) throw new ApiError(400, "The prompt is empty", { param: "messages", code: "empty_prompt" });
  const tools = offered.length === 0 ? null : toolFormatOf(form.write ? null : form.template).format;
  return { task, tokens, tools, grammar: grammarOf(task, tools) };
}

function grammarOf(task: ChatTask, tools: ToolFormat | null): PreparedChat["grammar"] {
  const { toolChoice, format } = task;
  const schema = format && boundedSchema(format.schema, format.param);
  if (!tools || toolChoice === "none") {
    return schema && { spec: { kind: "json", schema }, param: format!.param };
  }
  if (toolChoice === "auto") {
    if (!schema) return null;
    const either = [{ type: "json_schema", json_schema: schema } as const, callsGrammar(task, tools)];
    return { spec: { kind: "tags", format: { type: "or", elements: either } }, param: format!.param };
  }
  return { spec: { kind: "tags", format: callsGrammar(task, tools) }, param: "tools" };
}

/** One call or several, as the model's family writes them. */
function callsGrammar({ tools, toolChoice, parallel }: ChatTask, format: ToolFormat) {
  const named = typeof toolChoice === "object" ? toolChoice.name : null;
  const tags = tools.filter(({ function: { name } }) => named === null || name === named).map(
    ({ function: spec }, i) => {
      const parameters = spec.parameters ?? { type: "object", properties: {} };
      // Anything else than an object would be no arguments.
      const schema = boundedSchema({ type: "object", ...parameters }, `tools.${i}.function.parameters`);
      return {
        type: "tag" as const,
        begin: format.begin(spec.name),
        content: { type: "json_schema" as const, json_schema: schema },
        end: format.end,
      };
    },
  );
  const calls = {
    type: "tags_with_separator" as const,
    tags,
    separator: format.separator,
    at_least_one: true,
    stop_after_first: !parallel || named !== null,
  };
  return format.before === ""
    ? calls
    : { type: "tag" as const, begin: format.before, content: calls, end: format.after };
}

/**
 * Begins `n` answers, each with a seed of its own. Throws QueueFull before any of them has begun to be sent; the caller
 * then aborts `signal`, which ends those that were queued.
 */
export async function startChat(
  service: Service,
  prepared: PreparedChat,
  { n, signal }: { n: number; signal: AbortSignal },
): Promise<AsyncGenerator<ChatEvent>[]> {
  const { task, tokens, grammar } = prepared;
  checkPlaces(service, n, "n");
  const answers: AsyncGenerator<ChatEvent>[] = [];
  for (let i = 0; i < n; i++) {
    const constraint = grammar ? await service.grammars.constraint(grammar.spec, grammar.param) : undefined;
    const request: TokenRequest = {
      ...task.sampling,
      model: task.model.id,
      ...promptAndEnd(service, tokens, task.maxTokens),
      seed: (task.sampling.seed + i) >>> 0,
      logprobs: task.logprobs,
      constraint,
      signal,
    };
    answers.push(chatEvents(service, prepared, request));
  }
  return answers;
}

function chatEvents(service: Service, { task, tools }: PreparedChat, request: TokenRequest): AsyncGenerator<ChatEvent> {
  const { tokenizer } = service;
  const idsOf = (marks: string[]) => marks.map((mark) => tokenizer.idOf(mark)).filter((id) => id !== undefined);
  let called = 0;
  const answer = startAnswer(service, request, {
    stops: task.stops,
    keep: new Set(tools ? idsOf(tools.marks) : []),
    enough: tools && !task.parallel ? () => called > 0 : undefined,
  });
  return events();

  async function* events(): AsyncGenerator<ChatEvent> {
    const parser = tools && parseToolCalls(tools, new Set(task.tools.map(({ function: { name } }) => name)));
    const ids: string[] = [];
    for await (const event of answer) {
      if (!parser) {
        yield event;
        continue;
      }
      if (event.kind === "text") {
        let { logprobs } = event;
        for (const found of parser.push(event.text)) {
          yield withId(found, logprobs);
          if (found.kind === "text") logprobs = [];
          if (found.kind === "called" && ++called && !task.parallel) break;
        }
        continue;
      }
      if (!task.parallel && called > 0) {
        yield { ...event, finish: "tool_calls" };
        continue;
      }
      for (const found of parser.end()) {
        if (found.kind === "called") called++;
        yield withId(found, []);
      }
      yield { ...event, finish: called > 0 && event.finish === "stop" ? "tool_calls" : event.finish };
    }

    function withId(found: ToolEvent, logprobs: LogprobEntry[]): ChatEvent {
      if (found.kind === "text") return { ...found, logprobs };
      if (found.kind !== "call") return found;
      // Mistral's templates take ids of nine letters only.
      const id = ids[found.index] ??= tools!.name === "mistral" ? randomId("", 9) : randomId("call_", 24);
      return { ...found, id };
    }
  }
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** What OpenAI's objects of completions begin with. */
export function headOf({ version }: Service, model: ServedModel, prefix: "chatcmpl-" | "cmpl-") {
  return {
    id: randomId(prefix),
    created: Math.floor(Date.now() / 1000),
    model: model.id,
    system_fingerprint: `b-ftl-${version}`,
  };
}

/** "chatcmpl-" and so many letters and digits. */
export function randomId(prefix: string, length = 32): string {
  const random = crypto.getRandomValues(new Uint32Array(length));
  return prefix + Array.from(random, (value) => letters[value % letters.length]).join("");
}

export function usageOf({ prompt, answer, cached }: { prompt: number; answer: number; cached: number }) {
  return {
    prompt_tokens: prompt,
    completion_tokens: answer,
    total_tokens: prompt + answer,
    prompt_tokens_details: { cached_tokens: cached },
  };
}
