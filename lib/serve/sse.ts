/**
 * Answers that are sent while they are made: server-sent events, and Ollama's lines of JSON. The first bytes leave at
 * once, comments are sent during silence, and an answer nobody reads any more is given up.
 */
import { asApiError, errorBody } from "./api_error.ts";
import { EngineStopped } from "./engine.ts";

export interface StreamOptions {
  /** Aborted when the client has left. */
  leave: AbortController;
  /** Milliseconds of silence after which a stream says that it lives; 0: it does not, as lines of JSON cannot. */
  keepAlive: number;
  report(error: unknown): void;
  /** How an error in the middle is said; default: an event in OpenAI's form. */
  errorText?: (error: unknown) => string;
  contentType?: string;
}

/** One event with its blank line. `name` only where the protocol wants names. */
export function sseEvent(data: unknown, name?: string): string {
  return `${name ? `event: ${name}\n` : ""}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
}

/** A response whose body is what `events` yields. */
export function streamResponse(events: AsyncGenerator<string>, options: StreamOptions): Response {
  const { leave, keepAlive, report } = options;
  const encoder = new TextEncoder();
  const errorText = options.errorText ?? ((error: unknown) => sseEvent(errorBody(asApiError(error, report))));
  let timer: ReturnType<typeof setTimeout> | undefined;
  let left = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (keepAlive > 0) {
        clearInterval(timer);
        timer = setInterval(() => {
          // With bytes still unread the client is slow rather than waiting.
          if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(": still working\n\n"));
        }, keepAlive);
      }
      try {
        const { value, done } = await events.next();
        if (!done && !leave.signal.aborted) return controller.enqueue(encoder.encode(value));
        if (leave.signal.aborted) throw new EngineStopped("The server is stopping");
      } catch (error) {
        if (!left) controller.enqueue(encoder.encode(errorText(error)));
      } finally {
        clearInterval(timer);
      }
      if (!left) controller.close();
      leave.abort();
    },
    async cancel() {
      left = true;
      clearInterval(timer);
      leave.abort();
      await events.return(undefined);
    },
  });
  return new Response(body, {
    headers: {
      "content-type": options.contentType ?? "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      // Proxies that collect answers would undo the streaming.
      "x-accel-buffering": "no",
    },
  });
}

/** A whole answer, unless the server was stopped before its end. */
export function wholeResponse(answer: unknown, leave: AbortController): Response {
  if (leave.signal.aborted) throw new EngineStopped("The server is stopping");
  leave.abort();
  return Response.json(answer);
}

/** Aborted when the client leaves or the server stops; whoever answers aborts it at the end too. */
export function leaving(request: Request, stopping: AbortSignal): AbortController {
  const controller = new AbortController();
  for (const signal of [request.signal, stopping]) {
    if (signal.aborted) controller.abort();
    else signal.addEventListener("abort", () => controller.abort(), { once: true, signal: controller.signal });
  }
  return controller;
}
