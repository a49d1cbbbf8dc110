/** Engines on tiny golden models, requests for them, and adapters on disk. */
import { writeAdapter } from "../../lib/export/peft.ts";
import { attachAdapter, type LoraSettings, makeParameters } from "../../lib/model/adapter.ts";
import type { Generator } from "../../lib/model/generate.ts";
import { loadAdapter } from "../../lib/model/load_adapter.ts";
import { projections } from "../../lib/model/names.ts";
import type { TokenEvent, TokenRequest, TokenStream } from "../../lib/serve/engine.ts";
import { type EngineOptions, makeEngine } from "../../lib/serve/make_engine.ts";
import type { Executor } from "../../lib/ops.ts";
import { collect, goldenGenerator } from "./generation.ts";
import { randomFloats } from "./random.ts";

export interface Serving {
  base: Generator;
  engine: ReturnType<typeof makeEngine>;
}

/** An engine called "base" with two slots of 64 tokens. */
export async function serveGolden(
  name: string,
  executor: Executor,
  options: Partial<EngineOptions> = {},
): Promise<Serving> {
  const base = await goldenGenerator(name, { executor });
  return {
    base,
    engine: makeEngine({ base, id: "base", slots: 2, contextLength: 64, chunk: 4, chunkAlone: 7, ...options }),
  };
}

export const prompts = [[5, 6, 7], [400, 3, 77, 12, 45, 101, 9, 33, 250, 8, 19], [300]];

/** A greedy request without ends, changed as wanted. */
export function request(tokens: ArrayLike<number>, changes: Partial<TokenRequest> = {}): TokenRequest {
  return {
    ...{ model: "base", tokens: Int32Array.from(tokens), maxTokens: 9, stopIds: new Set<number>() },
    ...{ temperature: 0, topP: 1, topK: 0, minP: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
    ...{ logitBias: new Map<number, number>(), seed: 0, signal: new AbortController().signal },
    ...changes,
  };
}

export interface Answer {
  tokens: number[];
  events: TokenEvent[];
  finish?: string;
  cached: number;
}

export async function answerOf(stream: TokenStream): Promise<Answer> {
  const events: TokenEvent[] = [];
  for await (const event of stream) events.push(event);
  const tokens = events.map(({ token }) => token), finish = events.at(-1)?.finish;
  return { tokens, events, finish, cached: stream.cachedTokens };
}

/** What generate() says alone: what `ftl run` would print. */
export async function alone(generator: Generator, prompt: number[], count = 9): Promise<number[]> {
  return (await collect(generator, [prompt], { maxNewTokens: count, stopIds: [] }))[0].tokens;
}

/** An adapter on disk that changes answers. */
export function writeRandomAdapter(folder: string, { base, seed }: { base: Generator; seed: number }): void {
  const settings: LoraSettings = {
    ...{ r: 3, lora_alpha: 6, lora_dropout: 0, use_rslora: true, use_dora: false, seed },
    ...{ target_modules: [...projections], init_lora_weights: true },
  };
  const parameters = makeParameters(base.config, settings);
  parameters.forEach(({ name, value }, i) => {
    if (name.includes("lora_B")) value.set(randomFloats(value.length, 100 * seed + i).map((x) => 0.1 * x));
  });
  writeAdapter(folder, { settings, parameters, baseModel: "base" });
}

/** The base with an adapter from disk, beside any engine. */
export async function withAdapter(base: Generator, folder: string): Promise<Generator> {
  const { parameters, settings } = loadAdapter(folder, base.config);
  return { ...base, adapter: await attachAdapter(parameters, { ...base, settings }) };
}
