/** What POST /v1/responses may be asked, and the same request as a chat. */
import { z } from "zod";
import { ApiError } from "./api_error.ts";
import { check } from "./body.ts";
import {
  type ChatRequest,
  chatRequest,
  content,
  flag,
  functionSpec,
  integer,
  name,
  number,
  responseFormat,
  text,
  tokenCount,
  toolChoice,
} from "./schema.ts";

const item = z.looseObject({ type: z.string().nullish(), role: z.string().nullish() }, {
  error: "expected an item with a type",
});

export const responsesRequest = z.object({
  model: name,
  input: z.union([z.string(), z.array(item).min(1)], { error: "expected text or a list of items" }),
  instructions: text.nullish(),
  max_output_tokens: tokenCount,
  temperature: number(0, 2),
  top_p: number(0, 1),
  top_logprobs: integer(0, 20),
  stream: flag,
  tools: z.array(
    z.object({ type: z.literal("function", { error: 'expected "function"' }), ...functionSpec.shape }),
  ).max(128).nullish(),
  tool_choice: toolChoice,
  parallel_tool_calls: flag,
  text: z.object({ format: z.looseObject({ type: z.string() }).nullish() }).nullish(),
  previous_response_id: text.nullish(),
  conversation: z.unknown().optional(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
}, { error: "expected a JSON object" });

export type ResponsesRequest = z.output<typeof responsesRequest>;

/** The chat that a request stands for. Errors: ApiError, by the chat's own rules. */
export function chatOf(body: ResponsesRequest): ChatRequest {
  for (const key of ["previous_response_id", "conversation"] as const) {
    if (body[key] === null || body[key] === undefined) continue;
    throw new ApiError(400, `${key}: this server keeps no conversations; send the whole of it as input`, {
      param: key,
    });
  }
  const format = body.text?.format;
  return check({
    model: body.model,
    messages: [
      ...(body.instructions ? [{ role: "system", content: body.instructions }] : []),
      ...(typeof body.input === "string" ? [{ role: "user", content: body.input }] : messagesOf(body.input)),
    ],
    max_completion_tokens: body.max_output_tokens,
    temperature: body.temperature,
    top_p: body.top_p,
    tools: body.tools?.map(({ type, ...spec }) => ({ type, function: spec })),
    tool_choice: body.tool_choice,
    parallel_tool_calls: body.parallel_tool_calls,
    response_format: check(format ? { ...format, json_schema: null } : null, responseFormat),
  }, chatRequest);
}

type Item = z.output<typeof item>;

/** Items in a row that call functions are one turn of the assistant. */
function messagesOf(items: Item[]): object[] {
  const messages: Record<string, unknown>[] = [];
  for (const [i, item] of items.entries()) {
    const kind = item.type ?? "message";
    if (kind === "reasoning") continue;
    if (kind === "message") messages.push({ role: item.role, content: item.content });
    else if (kind === "function_call") {
      const call = { id: item.call_id, type: "function", function: { name: item.name, arguments: item.arguments } };
      const last = messages[messages.length - 1];
      if (last?.role === "assistant") last.tool_calls = [...(last.tool_calls as object[] ?? []), call];
      else messages.push({ role: "assistant", content: null, tool_calls: [call] });
    } else if (kind === "function_call_output") {
      messages.push({ role: "tool", tool_call_id: item.call_id, content: check(item.output, content) });
    } else {
      throw new ApiError(400, `input.${i}.type: this server does not read ${JSON.stringify(kind.slice(0, 60))}`, {
        param: `input.${i}.type`,
      });
    }
  }
  return messages;
}
