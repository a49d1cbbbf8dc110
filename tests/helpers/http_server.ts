/** A server over scripted answers on a port of its own, for tests of what goes over the wire. */
import type { ServiceSettings } from "../../lib/serve/service.ts";
import { openListener } from "../../lib/serve/listen.ts";
import { serveAt } from "../../lib/serve/server.ts";
import type { TokenRequest } from "../../lib/serve/engine.ts";
import { type FakeEngine, fakeEngine, type Script } from "./fake_engine.ts";
import { chatMl, smollm2Tokenizer } from "./tokenizers.ts";

export interface Serving {
  url: string;
  engine: FakeEngine;
  /** What the server kept from its clients. */
  reported: unknown[];
}

export const models = [
  { id: "base", aliases: ["smollm2"], created: 1_700_000_000 },
  { id: "base-tuned", aliases: [], parent: "base", created: 1_700_000_001 },
];

export interface ServingOptions extends Partial<ServiceSettings> {
  script?: Script | ((request: TokenRequest) => Script);
  contextLength?: number;
  template?: string | null;
}

/** Runs `test` against a server; afterwards no answer may be under way. */
export async function serving(options: ServingOptions, test: (serving: Serving) => Promise<void>): Promise<void> {
  const { script = { text: "Hello there!" }, contextLength, template = chatMl, ...settings } = options;
  const tokenizer = settings.tokenizer ?? smollm2Tokenizer();
  const engine = fakeEngine({
    tokenizer,
    models,
    contextLength,
    script: typeof script === "function" ? script : () => script,
  });
  const reported: unknown[] = [];
  const server = serveAt(openListener({ host: "127.0.0.1", port: 0 }));
  server.serve({
    engine,
    tokenizer,
    promptForm: () => ({ template }),
    defaultModel: null,
    version: "0.0.0",
    apiKey: null,
    corsOrigins: [],
    hosts: [],
    bodyLimit: 1 << 20,
    bodyTimeout: 1000,
    keepAlive: 10_000,
    systemPrompt: null,
    adapters: null,
    page: null,
    report: (error) => reported.push(error),
    ...settings,
  });
  try {
    await test({ url: server.url, engine, reported });
  } finally {
    await server.close(0);
  }
}

export function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

export const question = [{ role: "user", content: "Hi" }];

/** The data of a stream's events, with `[DONE]` as text. */
export function eventsOf(stream: string): unknown[] {
  const blocks = stream.split("\n\n");
  if (blocks.pop() !== "") throw new Error(`the last event has no blank line: ${stream}`);
  return blocks.filter((block) => !block.startsWith(":")).map((block) => {
    const data = block.split("\n").find((line) => line.startsWith("data: "))!.slice(6);
    return data === "[DONE]" ? data : JSON.parse(data);
  });
}

/** Waits until `holds` does, or fails. */
export async function until(holds: () => boolean, limit = 3000): Promise<void> {
  for (const end = Date.now() + limit; !holds();) {
    if (Date.now() > end) throw new Error(`not so after ${limit} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
