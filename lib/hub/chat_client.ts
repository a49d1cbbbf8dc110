/**
 * One question to a model behind an OpenAI-compatible address (POST /chat/completions), streamed, so that the time of the
 * first token is known. One attempt: retries and limits are remote_model.ts's. Every way in which a server can misbehave
 * ends in a ChatFailure before `timeout` is over.
 */
import { createParser } from "eventsource-parser";
import { ChatFailure, failureOfStatus, readErrorBody, withoutSecrets } from "./chat_failure.ts";

export interface ChatEndpoint {
  /** Without the path of the route: https://api.openai.com/v1 */
  baseUrl: string;
  model: string;
  key: string | null;
}

export interface ChatRequest {
  messages: { role: string; content: string }[];
  temperature: number;
  seed: number;
  maxTokens: number;
}

export interface ChatReply {
  text: string;
  /** refused: by the model or by a filter of its provider. */
  finish: "stop" | "length" | "refused";
  /** Fields of the request that the server refuses, so that it was asked without them. */
  leftOut: string[];
  /** As the server counts them; null where it does not. */
  promptTokens: number | null;
  answerTokens: number | null;
  /** Milliseconds from the request to the first token, and to the end. */
  firstToken: number;
  total: number;
}

/** Bytes of an answer that are read before it is given up. */
const mostBytes = 8 * 2 ** 20;

/**
 * The answer. `leftOut` are fields that this server refuses; it grows when a server names one, and the question is asked
 * again without it. Throws ChatFailure; what `signal` was aborted with when it was.
 */
export async function chat(
  endpoint: ChatEndpoint,
  request: ChatRequest,
  { timeout, signal, leftOut }: { timeout: number; signal?: AbortSignal; leftOut: Set<string> },
): Promise<ChatReply> {
  const limit = AbortSignal.timeout(timeout);
  const either = signal ? AbortSignal.any([limit, signal]) : limit;
  try {
    return await attempt(endpoint, request, { signal: either, leftOut });
  } catch (error) {
    signal?.throwIfAborted();
    if (limit.aborted) {
      throw new ChatFailure(`no whole answer within ${timeout / 1000} s`, { scope: "again", cause: error });
    }
    if (!(error instanceof ChatFailure)) {
      const said = withoutSecrets(error instanceof Error ? error.message : String(error), endpoint.key);
      throw new ChatFailure(`the connection failed: ${said}`, { scope: "again", cause: error });
    }
    const { field } = error;
    if (field !== undefined && optional.has(field) && !leftOut.has(field)) {
      leftOut.add(field);
      return await chat(endpoint, request, { timeout, signal, leftOut });
    }
    throw error;
  }
}

/** What some models refuse; without it they are asked as they are meant to be. */
const optional = new Set(["max_tokens", "temperature", "seed", "stream_options"]);

function bodyOf({ model }: ChatEndpoint, request: ChatRequest, leftOut: Set<string>): Record<string, unknown> {
  const body: Record<string, unknown> = {
    model,
    messages: request.messages,
    temperature: request.temperature,
    seed: request.seed,
    max_tokens: request.maxTokens,
    stream: true,
    stream_options: { include_usage: true },
  };
  for (const field of leftOut) delete body[field];
  // The newer name of the same limit, which models that reason insist on.
  if (leftOut.has("max_tokens")) body.max_completion_tokens = request.maxTokens;
  return body;
}

async function attempt(
  endpoint: ChatEndpoint,
  request: ChatRequest,
  { signal, leftOut }: { signal: AbortSignal; leftOut: Set<string> },
): Promise<ChatReply> {
  const { key } = endpoint, begun = performance.now();
  const response = await fetch(`${endpoint.baseUrl}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...key === null ? {} : { authorization: `Bearer ${key}` } },
    body: JSON.stringify(bodyOf(endpoint, request, leftOut)),
    // A key must not follow to another address.
    redirect: "manual",
    signal,
  });
  if (!response.ok) throw failureOfStatus(response, await beginningOf(response), key);
  const reply = makeReply(key);
  let firstToken: number | undefined;
  const seen = (changed: boolean) => {
    if (changed) firstToken ??= performance.now() - begun;
  };
  if (response.headers.get("content-type")?.includes("text/event-stream")) {
    const parser = createParser({ onEvent: ({ data }) => seen(reply.add(data)), maxBufferSize: mostBytes });
    await eachPiece(response, (text) => parser.feed(text));
  } else {
    let whole = "";
    await eachPiece(response, (text) => whole += text);
    seen(reply.add(whole));
  }
  const total = performance.now() - begun;
  return { ...reply.end(), leftOut: [...leftOut], firstToken: firstToken ?? total, total };
}

/** Hands out the body as text, and gives it up where it has no end. */
async function eachPiece(response: Response, use: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw new ChatFailure(`the answer has more than ${mostBytes} bytes`, { scope: "question" });
    use(decoder.decode(chunk, { stream: true }));
  }
}

/** At most 4,000 characters of a body that explains an error. */
async function beginningOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > 4000) break;
  }
  return text.slice(0, 4000);
}

/** Puts a reply together from its pieces: the chunks of a stream, or one whole completion. */
function makeReply(key: string | null) {
  let text = "", refusal = "", finish: string | null = null, done = false;
  let promptTokens: number | null = null, answerTokens: number | null = null;
  return {
    /** Returns whether the piece holds anything of the model's. */
    add(data: string): boolean {
      if (data.trim() === "[DONE]") {
        done = true;
        return false;
      }
      const piece = parse(data, key);
      if (typeof piece.error === "object" && piece.error !== null) {
        throw new ChatFailure(`the server failed: ${withoutSecrets(readErrorBody(data).said, key)}`, {
          scope: "again",
        });
      }
      const usage = piece.usage as Record<string, unknown> | null | undefined;
      promptTokens = countOf(usage?.prompt_tokens) ?? promptTokens;
      answerTokens = countOf(usage?.completion_tokens) ?? answerTokens;
      const choice = Array.isArray(piece.choices) ? piece.choices[0] : undefined;
      const said = choice?.delta ?? choice?.message ?? {};
      const added = [said.content, said.refusal, said.reasoning_content].some((part) => part);
      if (typeof said.content === "string") text += said.content;
      if (typeof said.refusal === "string") refusal += said.refusal;
      if (typeof choice?.finish_reason === "string") finish = choice.finish_reason;
      return added;
    },
    /** Throws ChatFailure where the end is missing. */
    end(): Pick<ChatReply, "text" | "finish" | "promptTokens" | "answerTokens"> {
      if (finish === null && !done) {
        throw new ChatFailure(`the answer was cut off after ${text.length} characters`, { scope: "again" });
      }
      const refused = refusal !== "" || finish === "content_filter";
      if (text === "" && !refused && finish !== "stop" && finish !== "length") {
        throw new ChatFailure("the answer holds no text", { scope: "again" });
      }
      return {
        text: (text || refusal).trim(),
        finish: refused ? "refused" : finish === "length" ? "length" : "stop",
        promptTokens,
        answerTokens,
      };
    },
  };
}

function parse(data: string, key: string | null): Record<string, unknown> {
  try {
    const piece = JSON.parse(data);
    if (Array.isArray(piece?.choices) || piece?.error) return piece;
  } catch {
    // Said below.
  }
  const beginning = withoutSecrets(data, key).slice(0, 60);
  throw new ChatFailure(`not an answer in OpenAI's form: ${JSON.stringify(beginning)}`, { scope: "again" });
}

function countOf(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : null;
}
