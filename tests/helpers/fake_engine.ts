/** An engine whose answers are scripts: tokens of a real tokenizer, paced, counted, and bent to constraints. */
import type { Engine, ServedModel, TokenEvent, TokenRequest, TokenStream } from "../../lib/serve/engine.ts";
import { QueueFull } from "../../lib/serve/engine.ts";
import type { Tokenizer } from "../../lib/text/tokenizer.ts";
import { randomFloats } from "./random.ts";

export interface Script {
  /** The answer's text, or its ids. */
  text?: string;
  tokens?: number[];
  /** Milliseconds before the first token, and before each. */
  prefill?: number;
  pace?: number;
  /** Thrown in place of this token. */
  failAt?: number;
  /** Tokens found in a cache. */
  cached?: number;
}

export interface FakeEngine extends Engine {
  /** Every request that came. */
  requests: TokenRequest[];
  /** Requests that were given up before their end. */
  aborted: number;
  /** Tokens made. */
  made: number;
  /** Set: the next requests find the queue full. */
  full: boolean;
}

export function fakeEngine(options: {
  tokenizer: Tokenizer;
  models: ServedModel[];
  contextLength?: number;
  script: (request: TokenRequest) => Script;
}): FakeEngine {
  const { tokenizer, models, contextLength = 2048, script } = options;
  const totals = { promptTokens: 0, cachedTokens: 0, answerTokens: 0 };
  let running = 0;

  async function* tokens(request: TokenRequest, { text = "", pace = 0, prefill = 0, ...rest }: Script) {
    const wanted = rest.tokens ?? tokenizer.encode(text);
    let drawn = 0;
    const random = () => randomFloats(1, request.seed + 7919 * ++drawn)[0] / 2 + 0.5;
    running++;
    let ended = false;
    try {
      await pause(prefill, request.signal);
      const most = Math.min(request.maxTokens, contextLength - request.tokens.length);
      for (let step = 0; step < most; step++) {
        await pause(pace, request.signal);
        if (request.signal.aborted) return;
        if (step === rest.failAt) throw new Error("the device was lost: /secret/path");
        await request.constraint?.ready();
        const token = choose(tokenizer, request, { token: wanted[step] ?? tokenizer.eosIds[0], random });
        engine.made++;
        totals.answerTokens++;
        request.constraint?.accept(token);
        const stop = request.stopIds.has(token);
        const finish = stop ? "stop" : step === most - 1 ? "length" : undefined;
        ended = finish !== undefined;
        yield { token, ...probabilities(request, token), ...(finish ? { finish } : {}) } as TokenEvent;
        if (ended) return;
      }
    } finally {
      running--;
      if (!ended) engine.aborted++;
    }
  }

  const engine: FakeEngine = {
    contextLength,
    places: 100,
    requests: [],
    aborted: 0,
    made: 0,
    full: false,
    models: () => models,
    generate(request): TokenStream {
      if (engine.full) throw new QueueFull(2.5);
      engine.requests.push(request);
      totals.promptTokens += request.tokens.length;
      const plan = script(request), stream = tokens(request, plan);
      return { cachedTokens: plan.cached ?? 0, [Symbol.asyncIterator]: () => stream };
    },
    embed: (_model, prompts) =>
      Promise.resolve(prompts.map((ids) => {
        const vector = Float32Array.from([ids.length, ids[0], 0, 1]);
        const length = Math.hypot(...vector);
        return vector.map((x) => x / length);
      })),
    addAdapter: () => Promise.reject(new Error("not scripted")),
    removeAdapter: () => Promise.reject(new Error("not scripted")),
    stats: () => ({ running, waiting: 0, ...totals }),
    close: () => Promise.resolve(),
  };
  return engine;
}

/**
 * The script's token where the constraint allows it, else one that it allows: the end, or as often as not what closes
 * JSON's strings and objects, so that answers are short.
 */
function choose(
  tokenizer: Tokenizer,
  { constraint, stopIds }: TokenRequest,
  { token, random }: { token: number; random: () => number },
): number {
  const mask = constraint?.allowed();
  if (!mask) return token;
  const allowed = (id: number | undefined): id is number => id !== undefined && (mask[id >> 5] >>> (id & 31) & 1) === 1;
  if (allowed(token)) return token;
  for (const end of stopIds) if (allowed(end)) return end;
  const closing = random() < 0.5 ? ['"', "}", "]", ":", ",", "1"].map(tokenizer.idOf).find(allowed) : undefined;
  if (closing !== undefined) return closing;
  const ids = Array.from(mask.keys()).filter((word) => mask[word] !== 0);
  const word = ids[Math.floor(random() * ids.length)];
  const bits = Array.from({ length: 32 }, (_, bit) => word * 32 + bit).filter(allowed);
  return bits[Math.floor(random() * bits.length)];
}

function probabilities({ logprobs }: TokenRequest, token: number): Partial<TokenEvent> {
  if (logprobs === undefined) return {};
  const top = Array.from({ length: logprobs }, (_, i) => ({ token: i === 0 ? token : i, logprob: -0.25 - i }));
  return { logprob: -0.25, top };
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (milliseconds <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}
