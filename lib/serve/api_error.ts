/**
 * Errors as clients expect them: OpenAI's body and status codes. Whatever is no ApiError is a bug or an engine's
 * failure; its text stays here, since it may hold paths and stacks.
 */
import { UserError } from "../errors.ts";
import { EngineStopped, QueueFull } from "./engine.ts";

export type Status = 400 | 401 | 403 | 404 | 405 | 408 | 413 | 415 | 429 | 500 | 503;

interface Details {
  type?: string;
  /** The field that is wrong: "messages.0.content". */
  param?: string | null;
  code?: string | null;
  headers?: Record<string, string>;
  /** Further keys of the error object. */
  more?: Record<string, unknown>;
}

export class ApiError extends Error {
  constructor(readonly status: Status, message: string, readonly details: Details = {}) {
    super(message);
    this.name = "ApiError";
  }
}

/** Any error as one to answer with. `report` gets what must not be shown to the client. */
export function asApiError(error: unknown, report: (error: unknown) => void): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof QueueFull) {
    return new ApiError(429, "The server is busy: its queue is full. Try again later.", {
      type: "rate_limit_error",
      code: "queue_full",
      headers: { "retry-after": String(Math.max(1, Math.ceil(error.retryAfter))) },
    });
  }
  if (error instanceof EngineStopped) {
    // Its cause was reported when it happened.
    return new ApiError(503, error.message, { code: "stopped", headers: { "x-should-retry": "false" } });
  }
  // What a user can act on, such as a chat template that refuses the conversation.
  if (error instanceof UserError) return new ApiError(400, error.message);
  report(error);
  return new ApiError(500, "The server failed to answer; its own log says why.", {
    // The same request would fail again.
    headers: { "x-should-retry": "false" },
  });
}

export function errorBody({ message, status, details }: ApiError): { error: Record<string, unknown> } {
  const type = details.type ?? (status >= 500 ? "server_error" : "invalid_request_error");
  return { error: { message, type, param: details.param ?? null, code: details.code ?? null, ...details.more } };
}

export function errorResponse(error: ApiError): Response {
  return Response.json(errorBody(error), { status: error.status, headers: error.details.headers });
}

/** In Ollama's form, where the error is its text alone. */
export function ollamaErrorResponse(error: ApiError): Response {
  return Response.json({ error: error.message }, { status: error.status, headers: error.details.headers });
}

/** A prompt that does not fit, in words that clients look for. */
export function contextError(
  { tokens, contextLength, param, about }: { tokens: number; contextLength: number; param: string; about?: boolean },
): ApiError {
  const message = `This model's maximum context length is ${contextLength} tokens; the request (${
    about ? "about " : ""
  }${tokens} tokens) exceeds the available context size. Shorten it.`;
  return new ApiError(400, message, {
    type: "exceed_context_size_error",
    param,
    code: "context_length_exceeded",
    more: { n_prompt_tokens: tokens, n_ctx: contextLength },
  });
}
