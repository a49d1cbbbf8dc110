/**
 * Many clients of one server for a while, as the world is: streams and whole answers of every API, some that leave in the
 * middle, some that send nonsense. Whatever is wrong that is not the client's own doing is written down.
 */
import { badRequests } from "./bad_requests.ts";

export interface LoadOptions {
  url: string;
  clients: number;
  seconds: number;
  /** Of the server, to read its memory; Linux only. */
  pid?: number;
  /** Seconds between looks at the server. */
  every: number;
  onLook?: (look: Look) => void;
}

export interface Look {
  seconds: number;
  /** MiB of the server's memory. */
  resident: number;
  running: number;
  waiting: number;
  answered: number;
}

export interface LoadResult {
  /** How often what happened: "chat, stream", "429", "left", "bad: no JSON". */
  counts: Map<string, number>;
  /** One line each. */
  problems: string[];
  looks: Look[];
  /** Tokens of complete answers, as their usage says. */
  tokens: number;
  /** The server's gauges once all have ended. */
  left: { running: number; waiting: number };
}

/** Numbers in [0, 1) that are the same in every run. */
function dice(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

export async function runLoad({ url, clients, seconds, pid, every, onLook }: LoadOptions): Promise<LoadResult> {
  const { data } = await (await fetch(`${url}/v1/models`)).json();
  const context: number = data[0].max_model_len, bad = badRequests(context);
  const result: LoadResult = {
    ...{ counts: new Map(), problems: [], looks: [], tokens: 0 },
    left: { running: -1, waiting: -1 },
  };
  const began = performance.now(), elapsed = () => (performance.now() - began) / 1000;
  const count = (what: string) => result.counts.set(what, (result.counts.get(what) ?? 0) + 1);
  const problem = (what: string) => {
    count("problem");
    if (result.problems.length < 50) result.problems.push(`${elapsed().toFixed(1)} s: ${what}`);
  };
  let answered = 0;

  async function client(number: number): Promise<void> {
    const random = dice(number * 7919 + 1);
    for (let turn = number; elapsed() < seconds; turn++) {
      const kind = random();
      try {
        if (kind < 0.1) {
          // All kinds in turn; at the end nobody waits for one that takes long.
          const { name, send, right } = bad[turn % bad.length];
          if (name === "a sender that stops" && elapsed() + 25 > seconds) continue;
          const status = await send(url);
          count(`bad: ${name}`);
          if (!right.includes(status)) problem(`${name}: status ${status}, expected ${right.join(" or ")}`);
        } else {
          const asked = askedOf(random, { context, models: data.map(({ id }: { id: string }) => id) });
          const tokens = await ask(url, asked, { leaves: kind < 0.3 ? random : undefined, count });
          if (tokens === undefined) count("left");
          else {
            count(`${asked.path}${asked.body.stream ? ", stream" : ""}`);
            result.tokens += tokens;
            answered++;
          }
        }
      } catch (error) {
        problem(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
      }
    }
  }

  async function look(): Promise<Look> {
    const text = await (await fetch(`${url}/metrics`)).text();
    const gauge = (name: string) => Number(new RegExp(`^ftl_requests_${name} (\\d+)`, "m").exec(text)![1]);
    const status = pid === undefined ? "" : Deno.readTextFileSync(`/proc/${pid}/status`);
    const resident = Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    return { seconds: Math.round(elapsed()), resident, running: gauge("running"), waiting: gauge("waiting"), answered };
  }

  async function watch(): Promise<void> {
    for (let next = 0; next <= seconds; next += every) {
      await pause(Math.max(0, next - elapsed()));
      const seen = await look();
      result.looks.push(seen);
      onLook?.(seen);
    }
  }

  await Promise.all([watch(), ...Array.from({ length: clients }, (_, i) => client(i))]);
  // Who has left may be noticed a moment later.
  for (let tries = 0; tries < 50; tries++) {
    const { running, waiting } = result.left = await look();
    if (running + waiting === 0) break;
    await pause(0.1);
  }
  return result;
}

interface Asked {
  path: string;
  body: Record<string, unknown> & { stream: boolean; most: number };
}

const words = "the of batik ghana drum river market yellow seven song rice carve mask harbour weaver".split(" ");

function askedOf(random: () => number, { context, models }: { context: number; models: string[] }): Asked {
  const pick = <T>(list: T[]) => list[Math.floor(random() * list.length)];
  // Half of all begin alike, as conversations that go on do.
  const length = 1 + Math.floor(random() * Math.min(60, context / 12)), same = random() < 0.5;
  const text = Array.from({ length }, (_, i) => same ? words[i % words.length] : pick(words)).join(" ");
  const most = 1 + Math.floor(random() * 16), stream = random() < 0.5, temperature = pick([0, 0.7, 1]);
  const common = { model: pick(models), stream, temperature, most }, options = { include_usage: true };
  const messages = [{ role: "user", content: text }], usage = stream ? { stream_options: options } : {};
  const api = random();
  if (api < 0.2) {
    return { path: "/v1/completions", body: { ...common, prompt: text, max_tokens: most, ...usage } };
  }
  if (api < 0.3) return { path: "/v1/responses", body: { ...common, input: text, max_output_tokens: most } };
  if (api < 0.4) {
    return { path: "/api/chat", body: { ...common, messages, options: { num_predict: most, temperature } } };
  }
  const more = pick([
    ...[{}, {}, {}, { n: 2 }, { logprobs: true, top_logprobs: 3 }],
    { response_format: { type: "json_object" } },
  ]);
  return { path: "/v1/chat/completions", body: { ...common, ...more, messages, max_tokens: most, ...usage } };
}

/**
 * Asks until there is a place. Returns the tokens of the answer once it has been found complete; undefined where the
 * client has left before that, as it was told to. Throws what is wrong.
 */
async function ask(
  url: string,
  { path, body: { most, ...body } }: Asked,
  { leaves, count }: { leaves?: () => number; count: (what: string) => void },
): Promise<number | undefined> {
  while (true) {
    const leave = new AbortController();
    // Often at once, where a tiny model answers fast; sometimes late, where a real one has a queue.
    const timer = leaves && setTimeout(() => leave.abort(), leaves() ** 3 * 3000);
    try {
      const response = await fetch(url + path, {
        ...{ method: "POST", headers: { "content-type": "application/json" } },
        ...{ body: JSON.stringify(body), signal: leave.signal },
      });
      const text = await response.text();
      if (response.status === 429) {
        const seconds = Number(response.headers.get("retry-after"));
        if (!(seconds >= 1 && seconds <= 60)) throw new Error(`429 with Retry-After ${seconds}`);
        count("429");
        clearTimeout(timer);
        await pause(Math.min(seconds, 5) * (0.5 + Math.random()));
        continue;
      }
      if (response.status !== 200) throw new Error(`${path}: ${response.status} ${text.slice(0, 300)}`);
      const answers = body.n === 2 ? 2 : 1, tokens = tokensOf(path, text, { stream: body.stream, answers });
      if (!(tokens >= 0 && tokens <= most * answers)) {
        throw new Error(`${path}: ${tokens} tokens, at most ${most} wanted`);
      }
      return tokens;
    } catch (error) {
      if (leave.signal.aborted) return undefined;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The tokens of a whole answer or stream. Throws where it is not complete. */
function tokensOf(path: string, text: string, { stream, answers }: { stream: boolean; answers: number }): number {
  const wrong = (what: string) => new Error(`${path}${stream ? ", stream" : ""}: ${what}: ${text.slice(-300)}`);
  const sum = (all: number, parts: number[]) => {
    if (parts.reduce((a, b) => a + b, 0) !== all) throw wrong("usage does not add up");
    return parts[1];
  };
  if (path === "/api/chat") {
    const last = JSON.parse(text.trimEnd().split("\n").at(-1)!);
    if (last.done !== true || !/^(stop|length)$/.test(last.done_reason)) throw wrong("no end");
    return last.eval_count;
  }
  if (!stream) return fromWhole(JSON.parse(text));
  if (!text.endsWith("\n\n")) throw wrong("the last event is cut");
  const events = text.split("\n\n").slice(0, -1).filter((event) => !event.startsWith(":"));
  const data = events.map((event) => event.replace(/^(event: .*\n)?data: /, ""));
  if (path === "/v1/responses") {
    const last = JSON.parse(data.at(-1)!);
    if (!/^response\.(completed|incomplete)$/.test(last.type)) throw wrong("no end");
    return fromWhole(last.response);
  }
  if (data.pop() !== "[DONE]") throw wrong("no [DONE]");
  const chunks = data.map((each) => JSON.parse(each)), { usage } = chunks.at(-1);
  const ends = chunks.flatMap(({ choices }) => choices).map(({ finish_reason }) => finish_reason).filter(Boolean);
  if (ends.length !== answers) throw wrong(`${ends.length} finish reasons`);
  return sum(usage.total_tokens, [usage.prompt_tokens, usage.completion_tokens]);

  function fromWhole({ usage, choices, status }: Record<string, unknown> & { usage: Record<string, number> }): number {
    if (path === "/v1/responses") {
      if (!/^(completed|incomplete)$/.test(String(status))) throw wrong(`status ${status}`);
      return sum(usage.total_tokens, [usage.input_tokens, usage.output_tokens]);
    }
    const ends = (choices as { finish_reason: string }[]).map(({ finish_reason }) => finish_reason);
    if (ends.length !== answers || !ends.every((end) => /^(stop|length)$/.test(end))) throw wrong("no finish reason");
    return sum(usage.total_tokens, [usage.prompt_tokens, usage.completion_tokens]);
  }
}
