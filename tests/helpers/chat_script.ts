/**
 * A chat server that does what a test tells it: answers, streams slowly, cuts off, lies, refuses. Keeps what it was asked.
 */

/** What the server does with one request. */
export type Act =
  | { do: "answer"; text: string; finish?: string; usage?: boolean; delay?: number; perPiece?: number }
  /** One completion as JSON, although a stream was asked for. */
  | { do: "whole"; text: string }
  | { do: "refuse"; text: string }
  | { do: "cut"; after: string }
  | { do: "status"; status: number; body?: string; headers?: Record<string, string> }
  | { do: "body"; body: string; type?: string }
  /** A body that never ends, a letter now and then. */
  | { do: "trickle"; status: number; type: string }
  | { do: "silence" }
  | { do: "hang up" }
  | { do: "error event"; message: string };

export interface Asked {
  question: string;
  body: Record<string, unknown>;
  authorization: string | null;
  at: number;
}

export interface ChatScript {
  url: string;
  asked: Asked[];
  /** Requests under way now, and the most at one time. */
  underWay: { now: number; most: number };
}

/** Runs `test` against a server that does what `act` says for a question and how often it was asked before. */
export async function chatScript(
  act: (question: string, before: number, body: Record<string, unknown>) => Act,
  test: (server: ChatScript) => Promise<void>,
): Promise<void> {
  const asked: Asked[] = [], underWay = { now: 0, most: 0 }, leave = new AbortController();
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    underWay.most = Math.max(underWay.most, ++underWay.now);
    try {
      const body = await request.json();
      const question = body.messages.at(-1).content as string;
      const before = asked.filter((one) => one.question === question).length;
      asked.push({ question, body, authorization: request.headers.get("authorization"), at: performance.now() });
      return await perform(act(question, before, body), leave.signal);
    } finally {
      underWay.now--;
    }
  });
  try {
    await test({ url: `http://127.0.0.1:${server.addr.port}/v1`, asked, underWay });
  } finally {
    leave.abort();
    await server.shutdown();
  }
}

const wait = (milliseconds: number, signal?: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });

async function perform(act: Act, leave: AbortSignal): Promise<Response> {
  const json = { "content-type": "application/json" };
  switch (act.do) {
    case "answer":
      await wait(act.delay ?? 0, leave);
      return stream(answerEvents(act), act.perPiece ?? 0, leave);
    case "whole": {
      const choices = [{ message: { role: "assistant", content: act.text }, finish_reason: "stop" }];
      return new Response(JSON.stringify({ choices, usage: { prompt_tokens: 7, completion_tokens: 3 } }), {
        headers: json,
      });
    }
    case "refuse":
      return stream([chunk({ delta: { refusal: act.text } }), chunk({ delta: {}, finish_reason: "stop" })], 0, leave);
    case "cut":
      return stream([chunk({ delta: { content: act.after } })], 0, leave);
    case "status":
      return new Response(act.body ?? "", { status: act.status, headers: { ...json, ...act.headers } });
    case "body":
      return new Response(act.body, { headers: { "content-type": act.type ?? "application/json" } });
    case "trickle":
      return new Response(trickle(leave), { status: act.status, headers: { "content-type": act.type } });
    case "silence":
      await wait(60_000, leave);
      return new Response();
    case "hang up":
      return new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(new TextEncoder().encode("data: {"));
            controller.error(new Error("gone"));
          },
        }),
        { headers: { "content-type": "text/event-stream" } },
      );
    case "error event":
      return stream([JSON.stringify({ error: { message: act.message } })], 0, leave);
  }
}

function trickle(leave: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async start(controller) {
      try {
        while (!leave.aborted) {
          controller.enqueue(new TextEncoder().encode(" "));
          await wait(20, leave);
        }
        controller.close();
      } catch {
        // The client has left.
      }
    },
  });
}

const chunk = (choice: unknown) => JSON.stringify({ object: "chat.completion.chunk", choices: [choice] });

function answerEvents({ text, finish = "stop", usage = true }: Extract<Act, { do: "answer" }>): string[] {
  const words = text.split(/(?<= )/);
  return [
    chunk({ delta: { role: "assistant", content: "" } }),
    ...words.map((content) => chunk({ delta: { content } })),
    chunk({ delta: {}, finish_reason: finish }),
    ...usage ? [JSON.stringify({ choices: [], usage: { prompt_tokens: 10, completion_tokens: words.length } })] : [],
    "[DONE]",
  ];
}

function stream(events: string[], perPiece: number, leave: AbortSignal): Response {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    async start(controller) {
      try {
        for (const event of events) {
          if (perPiece > 0) await wait(perPiece, leave);
          controller.enqueue(encoder.encode(`data: ${event}\n\n`));
        }
        controller.close();
      } catch {
        // The client has left.
      }
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
}
