/**
 * POST /v1/responses, without memory: what is asked stands in the request as a whole. Streams have OpenAI's events, each
 * with its name and number; a whole answer is the last of them.
 */
import { asApiError, errorBody } from "./api_error.ts";
import { readBody } from "./body.ts";
import { chatTaskOf } from "./chat.ts";
import { type ChatEvent, prepareChat, randomId, startChat } from "./chat_task.ts";
import { chatOf, type ResponsesRequest, responsesRequest } from "./responses_input.ts";
import type { Service } from "./service.ts";
import { leaving, sseEvent, streamResponse, wholeResponse } from "./sse.ts";

export async function responses(service: Service, request: Request): Promise<Response> {
  const body = await readBody(request, responsesRequest, service);
  const task = chatTaskOf(service, chatOf(body));
  const prepared = await prepareChat(service, task);
  const leave = leaving(request, service.stopping);
  try {
    const [answer] = await startChat(service, prepared, { n: 1, signal: leave.signal });
    const made = { model: task.model.id, prompt: prepared.tokens.length, body };
    if (body.stream) {
      let number = 0;
      const numbered = ({ type, ...rest }: ResponseEvent) =>
        sseEvent({ type, sequence_number: number++, ...rest }, type);
      const errorText = (thrown: unknown) => {
        const { error } = errorBody(asApiError(thrown, service.report));
        const { message, code, param } = error;
        return numbered({ type: "error", message, code, param, error });
      };
      return streamResponse(eachAs(responseEvents(answer, made), numbered), { ...service, leave, errorText });
    }
    let last: ResponseEvent | undefined;
    for await (const event of responseEvents(answer, made)) last = event;
    return wholeResponse(last?.response, leave);
  } catch (error) {
    leave.abort();
    throw error;
  }
}

async function* eachAs<T>(events: AsyncGenerator<T>, write: (event: T) => string): AsyncGenerator<string> {
  for await (const event of events) yield write(event);
}

interface ResponseEvent {
  type: string;
  [key: string]: unknown;
}

/** What the answer consists of so far. */
type Item = MessageItem | CallItem;

interface MessageItem {
  type: "message";
  id: string;
  status: string;
  role: "assistant";
  content: { type: "output_text"; text: string; annotations: never[]; logprobs: never[] }[];
}

interface CallItem {
  type: "function_call";
  id: string;
  call_id: string;
  name: string;
  arguments: string;
  status: string;
}

async function* responseEvents(
  answer: AsyncGenerator<ChatEvent>,
  { model, prompt, body }: { model: string; prompt: number; body: ResponsesRequest },
): AsyncGenerator<ResponseEvent> {
  const output: Item[] = [];
  const head = headOf(body, model);
  const response = (status: string, more: object = {}) => ({
    ...head,
    status,
    output: structuredClone(output),
    ...more,
  });
  yield { type: "response.created", response: response("in_progress") };
  yield { type: "response.in_progress", response: response("in_progress") };
  for await (const event of answer) {
    const last = output[output.length - 1], place = output.length - 1;
    switch (event.kind) {
      case "text": {
        let item = last;
        if (item?.type !== "message" || item.status !== "in_progress") yield* openMessage(output);
        item = output[output.length - 1];
        const part = (item as MessageItem).content[0];
        part.text += event.text;
        yield {
          type: "response.output_text.delta",
          ...placeOf(output),
          content_index: 0,
          delta: event.text,
          logprobs: [],
        };
        break;
      }
      case "call": {
        yield* closeMessage(output);
        const { id: call_id, name } = event;
        output.push({
          type: "function_call",
          id: randomId("fc_"),
          call_id,
          name,
          arguments: "",
          status: "in_progress",
        });
        yield {
          type: "response.output_item.added",
          output_index: output.length - 1,
          item: structuredClone(output[output.length - 1]),
        };
        break;
      }
      case "arguments":
        (last as CallItem).arguments += event.text;
        yield { type: "response.function_call_arguments.delta", ...placeOf(output), delta: event.text };
        break;
      case "called": {
        const call = last as CallItem;
        call.status = "completed";
        const { arguments: given, name } = call;
        yield { type: "response.function_call_arguments.done", ...placeOf(output), name, arguments: given };
        yield { type: "response.output_item.done", output_index: place, item: structuredClone(call) };
        break;
      }
      case "end": {
        const cut = event.finish === "length";
        yield* closeMessage(output, cut ? "incomplete" : "completed");
        const usage = {
          input_tokens: prompt,
          input_tokens_details: { cached_tokens: event.cachedTokens },
          output_tokens: event.tokens,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: prompt + event.tokens,
        };
        yield cut
          ? {
            type: "response.incomplete",
            response: response("incomplete", { incomplete_details: { reason: "max_output_tokens" }, usage }),
          }
          : { type: "response.completed", response: response("completed", { usage }) };
      }
    }
  }
}

const placeOf = (output: Item[]) => ({ item_id: output[output.length - 1].id, output_index: output.length - 1 });

function* openMessage(output: Item[]): Generator<ResponseEvent> {
  const item: MessageItem = {
    type: "message",
    id: randomId("msg_"),
    status: "in_progress",
    role: "assistant",
    content: [],
  };
  output.push(item);
  yield { type: "response.output_item.added", output_index: output.length - 1, item: structuredClone(item) };
  item.content.push({ type: "output_text", text: "", annotations: [], logprobs: [] });
  yield {
    type: "response.content_part.added",
    ...placeOf(output),
    content_index: 0,
    part: structuredClone(item.content[0]),
  };
}

/** Ends the message that is open, if one is. */
function* closeMessage(output: Item[], status = "completed"): Generator<ResponseEvent> {
  const item = output[output.length - 1];
  if (item?.type !== "message" || item.status !== "in_progress") return;
  item.status = status;
  const place = { ...placeOf(output), content_index: 0 }, [part] = item.content;
  yield { type: "response.output_text.done", ...place, text: part.text, logprobs: [] };
  yield { type: "response.content_part.done", ...place, part: structuredClone(part) };
  yield { type: "response.output_item.done", output_index: output.length - 1, item: structuredClone(item) };
}

/** What a response says of its request. */
function headOf(body: ResponsesRequest, model: string) {
  return {
    id: randomId("resp_"),
    object: "response",
    created_at: Math.floor(Date.now() / 1000),
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body.metadata ?? {},
    model,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: body.temperature ?? 1,
    text: { format: body.text?.format ?? { type: "text" } },
    tool_choice: body.tool_choice ?? "auto",
    tools: body.tools ?? [],
    top_p: body.top_p ?? 1,
    truncation: "disabled",
    usage: null,
  };
}
