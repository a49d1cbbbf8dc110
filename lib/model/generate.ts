/**
 * Answers to a batch of prompts of different lengths, token by token: one packed pass over the prompts, then one pass a
 * token against cached keys and values. Knows token ids only; text is lib/text's.
 */
import { UserError } from "../errors.ts";
import type { Executor, SampleOptions, Value } from "../ops.ts";
import type { AttachedAdapter } from "./adapter.ts";
import { batchValues, makeBatch, releaseBatch, ropeTables } from "./batch.ts";
import type { ModelConfig } from "./config.ts";
import { decodeSegments, nextLayer } from "./decode.ts";
import { embedSegment, layerInferenceSegment, logitsSegment } from "./forward.ts";
import { type KvCache, makeKvCache } from "./kv_cache.ts";
import { sampleToken, type SamplingOptions } from "./sample.ts";
import type { LoadedWeights } from "./weights.ts";

/** What can answer: the model alone, or with an adapter. */
export interface Generator {
  executor: Executor;
  config: ModelConfig;
  weights: LoadedWeights;
  adapter?: AttachedAdapter;
}

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to add to each prompt. The model's own limit of positions also ends a row. */
  maxNewTokens: number;
  /** A row ends with the first of these; default: the model's end-of-text ids. */
  stopIds?: Iterable<number>;
}

export interface GeneratedToken {
  /** Index of the prompt. */
  row: number;
  token: number;
  /** Set on a row's last token: it is a stop id, or the row is as long as it may be. */
  finish?: "stop" | "length";
}

/**
 * Yields each row's tokens as they are chosen, all unfinished rows in turn. `prompts` are token ids, at least one each.
 * UserError when a prompt is empty or leaves no room in the model's positions. Memory is given back when the iteration
 * ends, also early.
 */
export async function* generate(
  generator: Generator,
  prompts: ArrayLike<number>[],
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken> {
  const { executor, config } = generator;
  checkPrompts(prompts, config);
  if (prompts.length === 0 || options.maxNewTokens < 1) return;
  const stopIds = new Set(options.stopIds ?? config.eosTokenIds);
  const rows = prompts.map((prompt): Row => ({ history: Array.from(prompt), added: 0, finished: false }));
  const cache = makeKvCache(executor, {
    layers: config.layers,
    rows: rows.length,
    length: Math.min(Math.max(...prompts.map(({ length }) => length)) + options.maxNewTokens, config.maxPositions),
    width: config.kvHeads * config.headDim,
  });
  const decode = decoder(generator, cache), deviceChoice = choiceOnDevice(options);
  /** The places of the rows' last tokens, of `more` beyond those known; a finished row stays where it is. */
  const places = (more: number) =>
    Int32Array.from(rows, ({ history, finished }) => history.length - 1 + (finished ? 0 : more));
  const full = ({ history, added }: Row, more: number) =>
    added + more >= options.maxNewTokens || history.length + more >= config.maxPositions;
  /** What became of the last tokens: logits after them, or after those that come next, unknown here as yet. */
  let logits: Value | undefined, next: Value | undefined;
  try {
    logits = await prefill(generator, prompts, cache);
    for (let step = 0;; step++) {
      let tokens: ArrayLike<number>;
      if (deviceChoice && executor.chooseTokens) {
        const choice = executor.chooseTokens(logits, { ...deviceChoice, step });
        // The next pass is on its way before anybody has seen these tokens: where all rows end with them, in vain.
        const goesOn = rows.some((row) => !row.finished && !full(row, 1));
        [tokens, next] = await Promise.all([
          choice.numbers,
          goesOn ? decode(choice.tokens, places(1)) : undefined,
        ]);
        executor.release(choice.tokens);
      } else {
        const all = await executor.read(logits), V = config.vocabSize;
        tokens = rows.map(({ history, finished }, row) =>
          finished
            ? history[history.length - 1]
            : sampleToken(all.subarray(row * V, (row + 1) * V), { ...options, history, row, step })
        );
      }
      executor.release(logits);
      logits = undefined;
      const chosen: GeneratedToken[] = [];
      for (const [row, state] of rows.entries()) {
        if (state.finished) continue;
        const token = tokens[row];
        state.history.push(token);
        state.added++;
        const finish = stopIds.has(token) ? "stop" : full(state, 0) ? "length" : undefined;
        state.finished = finish !== undefined;
        chosen.push(finish ? { row, token, finish } : { row, token });
      }
      yield* chosen;
      if (rows.every(({ finished }) => finished)) return;
      // A finished row goes on as a passenger: any token again, at the place that it already has.
      logits = next ?? await decodeKnown(Int32Array.from(tokens), places(0));
      next = undefined;
    }
  } finally {
    executor.release(...[logits, next].filter((value) => value !== undefined));
    cache.release();
  }

  async function decodeKnown(tokens: Int32Array, positions: Int32Array): Promise<Value> {
    const value = executor.tensor(tokens, [tokens.length]);
    const logits = await decode(value, positions);
    executor.release(value);
    return logits;
  }
}

/** A prompt and what was added to it. */
interface Row {
  history: number[];
  added: number;
  finished: boolean;
}

/** All that decides a choice, where a device can make it: a repetition penalty needs the history. */
function choiceOnDevice(options: SamplingOptions): Omit<SampleOptions, "step"> | undefined {
  const { temperature = 0, top_k = 0, top_p = 1, min_p = 0, repetition_penalty = 1, seed = 0 } = options;
  return repetition_penalty === 1 ? { temperature, top_k, top_p, min_p, seed } : undefined;
}

function checkPrompts(prompts: ArrayLike<number>[], config: ModelConfig): void {
  for (const [row, prompt] of prompts.entries()) {
    if (prompt.length === 0) throw new UserError(`Prompt ${row + 1} is empty`, { hint: "give at least one token" });
    if (prompt.length >= config.maxPositions) {
      throw new UserError(
        `Prompt ${row + 1} has ${prompt.length} tokens, ${config.name} has ${config.maxPositions} positions`,
        { hint: "shorten the prompt" },
      );
    }
    const bad = Array.from(prompt).find((token) => !(token >= 0 && token < config.vocabSize));
    if (bad !== undefined) {
      throw new UserError(`Prompt ${row + 1} holds token ${bad}, the model has ${config.vocabSize}`);
    }
  }
}

/** Weights of a layer, with the adapter's values beside them. */
function layerWeights({ weights, adapter }: Generator, layer: number): Record<string, Value> {
  return adapter ? { ...weights.layers[layer], ...adapter.layers[layer] } : weights.layers[layer];
}

function layerOptions({ config, adapter }: Generator) {
  return { config, loraScale: adapter?.scale ?? 0 };
}

/** Runs the prompts, fills the cache, and returns the logits after each prompt's last token, [B, V]. */
async function prefill(generator: Generator, prompts: ArrayLike<number>[], cache: KvCache): Promise<Value> {
  const { executor, config, weights } = generator;
  const batch = makeBatch(prompts.map((prompt) => {
    return { tokens: Int32Array.from(prompt), targets: new Uint8Array(prompt.length) };
  }));
  const values = batchValues(executor, batch, config);
  const own = tensorMaker(executor);
  const index = own.tensor(cache.slots(batch.rowOf, batch.positions));
  let { x } = await executor.run(embedSegment(config), {
    embed_tokens: weights.embed_tokens,
    tokens: own.tensor(batch.tokens),
  });
  const segment = layerInferenceSegment(layerOptions(generator), ["k", "v"]);
  for (let l = 0; l < config.layers; l++) {
    const shared = config.layerTypes[l] === "sliding" ? values.sliding : values.full;
    const { y, k, v } = await executor.run(segment, { ...layerWeights(generator, l), ...shared, x });
    cache.store(l, { k, v, index });
    executor.release(x, k, v);
    x = y;
  }
  let end = 0;
  const last = Int32Array.from(prompts, (prompt) => (end += prompt.length) - 1);
  const { norm, lm_head } = weights;
  const { logits } = await executor.run(logitsSegment(config), { x, index: own.tensor(last), norm, lm_head });
  executor.release(x);
  own.release();
  releaseBatch(executor, values);
  return logits;
}

/** Makes values that are released together. */
function tensorMaker(executor: Executor) {
  const made: Value[] = [];
  return {
    tensor(data: Float32Array | Int32Array, shape: readonly number[] = [data.length]): Value {
      const value = executor.tensor(data, shape);
      made.push(value);
      return value;
    },
    add<Values extends Record<string, Value>>(values: Values): Values {
      made.push(...Object.values(values));
      return values;
    },
    release: () => executor.release(...made),
  };
}

/** A function that appends one token a row (i32 [B]), at the given positions, and returns the logits after it, [B, V]. */
function decoder(generator: Generator, cache: KvCache) {
  const { executor, config, weights } = generator;
  const segments = decodeSegments(layerOptions(generator));
  const slides = config.layerTypes.includes("sliding");
  const layers = weights.layers.map((_, l) => {
    const own = layerWeights(generator, l);
    return { own, next: Object.fromEntries(Object.entries(own).map(([name, value]) => [nextLayer + name, value])) };
  });

  return async (tokens: Value, positions: Int32Array): Promise<Value> => {
    const B = positions.length, half = config.headDim / 2;
    const own = tensorMaker(executor);
    const shared = (local: boolean) => {
      const { cos, sin } = ropeTables(local ? config.ropeLocal : config.rope, config.headDim, positions);
      return {
        rope: { cos: own.tensor(cos, [B, half]), sin: own.tensor(sin, [B, half]) },
        visible: own.add(cache.visible(positions, local ? config.slidingWindow : Infinity)),
      };
    };
    const full = shared(false), sliding = slides ? shared(true) : full;
    const index = own.tensor(cache.slots(positions.map((_, b) => b), positions));
    const at = (l: number) => config.layerTypes[l] === "sliding" ? sliding : full;

    const { embed_tokens, norm, lm_head } = weights;
    let state = await executor.run(segments.first, {
      ...layers[0].own,
      ...at(0).rope,
      embed_tokens,
      tokens,
    });
    for (let l = 0;; l++) {
      const { x, q, k, v } = state;
      cache.store(l, { k, v, index });
      const inputs = { ...layers[l].own, x, q, ...cache.values(l), ...at(l).visible };
      if (l + 1 === config.layers) {
        const { logits } = await executor.run(segments.last, { ...inputs, norm, lm_head });
        executor.release(x, q, k, v);
        own.release();
        return logits;
      }
      const { cos, sin } = at(l + 1).rope;
      const following = { ...layers[l + 1].next, [`${nextLayer}cos`]: cos, [`${nextLayer}sin`]: sin };
      state = await executor.run(segments.between, { ...inputs, ...following });
      executor.release(x, q, k, v);
    }
  };
}
