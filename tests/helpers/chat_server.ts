/** The chat page behind a server whose answers a test writes down: the same routes and wire format, no model. */
import { chatPage } from "../../lib/serve/chat_page.ts";
import { contentPolicy } from "../../lib/serve/page.ts";

export interface ChatRequest {
  model: string;
  messages: { role: string; content: string }[];
  stream: boolean;
  stream_options: { include_usage: boolean };
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
}

/** What the server does with one request. */
export interface Script {
  /** Text, a token each. */
  pieces?: string[];
  /** Milliseconds before each piece. */
  every?: number;
  finish?: string;
  /** The stream ends without a word behind its pieces. */
  cut?: boolean;
  /** Sent as an event behind the pieces. */
  error?: { message: string; code?: string };
  /** Instead of a stream. */
  refuse?: { status: number; body: unknown; headers?: Record<string, string> };
}

export interface ChatServer {
  address: string;
  port: number;
  requests: ChatRequest[];
  /** Requests whose client left before the end. */
  aborted: number;
  close(): Promise<void>;
}

export const twoModels = {
  version: "0.1.0",
  contextLength: 2048,
  defaultSystem: "",
  models: [
    { id: "smollm2-135m", aliases: ["base"] },
    { id: "cultural-qa", parent: "smollm2-135m", aliases: ["tuned"] },
  ],
};

export interface ServerOptions {
  answer: (request: ChatRequest, count: number) => Script;
  info?: typeof twoModels;
  key?: string;
  port?: number;
}

export function startChatServer({ answer, info = twoModels, key, port = 0 }: ServerOptions): ChatServer {
  const html = chatPage();
  const pageHeaders = { "content-type": "text/html; charset=utf-8", "content-security-policy": contentPolicy(html) };
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response(html, { headers: pageHeaders });
    if (key && request.headers.get("authorization") !== `Bearer ${key}`) {
      return Response.json({ error: { message: "Wrong key", type: "authentication_error" } }, { status: 401 });
    }
    if (pathname === "/ftl/info") return Response.json(info);
    if (pathname !== "/v1/chat/completions") return new Response("not here", { status: 404 });
    const body = await request.json() as ChatRequest;
    started.requests.push(body);
    const script = answer(body, started.requests.length);
    if (script.refuse) {
      return Response.json(script.refuse.body, { status: script.refuse.status, headers: script.refuse.headers });
    }
    return new Response(stream(body, script, () => started.aborted++), {
      headers: { "content-type": "text/event-stream" },
    });
  });
  const started: ChatServer = {
    address: `http://127.0.0.1:${server.addr.port}/`,
    port: server.addr.port,
    requests: [],
    aborted: 0,
    close: () => server.shutdown(),
  };
  return started;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function stream({ model }: ChatRequest, script: Script, onAbort: () => void): ReadableStream<Uint8Array> {
  const { pieces = [], every = 0, finish = "stop", cut, error } = script;
  const encoder = new TextEncoder();
  let left = false;
  const common = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model };
  const event = (value: unknown) => encoder.encode(`data: ${JSON.stringify(value)}\n\n`);
  const delta = (delta: unknown, finish_reason: string | null = null) =>
    event({ ...common, choices: [{ index: 0, delta, finish_reason }] });
  return new ReadableStream({
    async start(controller) {
      try {
        controller.enqueue(delta({ role: "assistant", content: "" }));
        for (const content of pieces) {
          if (every > 0) await pause(every);
          if (left) return;
          controller.enqueue(delta({ content }));
        }
        if (error) controller.enqueue(event({ error }));
        if (!cut && !error) {
          const usage = { prompt_tokens: 12, completion_tokens: pieces.length, total_tokens: 12 + pieces.length };
          controller.enqueue(delta({}, finish));
          controller.enqueue(event({ ...common, choices: [], usage }));
          controller.enqueue(encoder.encode("data: [DONE]\n\n"));
        }
        controller.close();
      } catch (problem) {
        // Enqueuing into a stream that its reader has left.
        if (!left) throw problem;
      }
    },
    cancel() {
      left = true;
      onAbort();
    },
  });
}

/** "Hello world" -> ["Hello ", "world"], roughly as tokens come. */
export const inPieces = (text: string): string[] => text.match(/\s*\S{1,6}|\s+$/g) ?? [];
