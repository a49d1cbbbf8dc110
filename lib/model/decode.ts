/**
 * New tokens of several sequences after what a cache holds of them: one token each, whole prompts, or pieces of them. The
 * layers are those of forward.ts; here they are put together, as many to a segment as suits the executor, and fed.
 */
import type { Executor, Segment, Value } from "../ops.ts";
import type { AttachedAdapter } from "./adapter.ts";
import { batchValues, makeBatch, releaseBatch } from "./batch.ts";
import type { ModelConfig } from "./config.ts";
import { embedSegment, layerForward, layerInferenceSegment, logitsSegment } from "./forward.ts";
import type { KvCache, Piece } from "./kv_cache.ts";
import { ropeTables } from "./rope.ts";
import type { LoadedWeights } from "./weights.ts";

/** What can answer: the model alone, or with an adapter. */
export interface Generator {
  executor: Executor;
  config: ModelConfig;
  weights: LoadedWeights;
  adapter?: AttachedAdapter;
}

export interface DecodeOptions {
  /** Whether the logits after each piece's last token are wanted. */
  logits: boolean;
}

/**
 * A function that runs new tokens (of all pieces in their order, or i32 [T] where a device has chosen them) and stores
 * them in the cache. Returns the logits [pieces, V] after each piece's last token, to be released, where they are wanted.
 */
export type Decoder = (
  tokens: Int32Array | Value,
  pieces: Piece[],
  options: DecodeOptions,
) => Promise<Value | undefined>;

/** Weights of a layer, with the adapter's values beside them. */
function layerWeights({ weights, adapter }: Generator, layer: number): Record<string, Value> {
  return adapter ? { ...weights.layers[layer], ...adapter.layers[layer] } : weights.layers[layer];
}

const prefixed = (prefix: string, values: Record<string, Value>) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));

/** Inputs whose names begin with a prefix, without it. */
function part<V>(inputs: Record<string, V>, prefix: string): Record<string, V> {
  return Object.fromEntries(
    Object.entries(inputs).filter(([name]) => name.startsWith(prefix)).map((
      [name, value],
    ) => [name.slice(prefix.length), value]),
  );
}

/** Layers `from` to before `to`, with the embedding before the first and the head after the last of all. */
function stretchSegment(
  { config, adapter }: Generator,
  { from, to, logits }: { from: number; to: number; logits: boolean },
): Segment {
  const loraScale = adapter?.scale ?? 0, types = config.layerTypes.slice(from, to);
  const embeds = from === 0, ends = logits && to === config.layers;
  return {
    key: `decode|${loraScale}|${types}|${embeds}|${ends}`,
    build(ops, inputs) {
      let { x } = embeds ? embedSegment(config).build(ops, inputs) : inputs;
      types.forEach((type, i) => {
        const own = { ...part(inputs, `${type}.`), ...part(inputs, `${i}.`), x };
        const window = type === "sliding" ? config.slidingWindow : Infinity;
        x = layerForward(ops, own, { config, loraScale, window }).y;
      });
      return ends ? logitsSegment(config).build(ops, { ...inputs, x }) : { x };
    },
  };
}

export function makeDecoder(generator: Generator, cache: KvCache): Decoder {
  const { executor, config, weights } = generator;
  const slides = config.layerTypes.includes("sliding");
  const stretchesOf = (atOnce: number) =>
    Array.from({ length: Math.ceil(config.layers / atOnce) }, (_, s) => {
      const from = s * atOnce, to = Math.min(from + atOnce, config.layers);
      const fixed = Object.assign(
        {},
        ...Array.from(
          { length: to - from },
          (_, i) => prefixed(`${i}.`, { ...layerWeights(generator, from + i), ...cache.fixed(from + i) }),
        ),
        from === 0 && { embed_tokens: weights.embed_tokens },
      );
      const head = to === config.layers && { norm: weights.norm, lm_head: weights.lm_head };
      const silent: Segment = { ...stretchSegment(generator, { from, to, logits: false }), fixed };
      const spoken = { ...stretchSegment(generator, { from, to, logits: true }), fixed: { ...fixed, ...head } };
      return { from, to, silent, spoken };
    });
  const long = stretchesOf(executor.largeSegments ? config.layers : 1);
  // A pass of a token each comes again in the same shape: what is made ready once for more layers serves it often.
  const short = executor.largeSegments ? long : stretchesOf(8);

  return async (given, pieces, options) => {
    if (!(given instanceof Int32Array)) return await run(given, pieces, options);
    // On the CPU a product with an adapter's matrices takes another way for a single row, which shows in the last bits: a
    // lone token is run twice, its double in the next place of its slot, which nobody sees.
    const lone = executor.paddedAttention && generator.adapter && given.length === 1;
    const all = lone ? Int32Array.of(given[0], given[0]) : given, tokens = executor.tensor(all, [all.length]);
    const result = lone
      ? await run(tokens, [{ ...pieces[0], count: 2 }], { ...options, index: Int32Array.of(0) })
      : await run(tokens, pieces, options);
    executor.release(tokens);
    return result;
  };

  async function run(
    tokens: Value,
    pieces: Piece[],
    { logits, index: last = lastOf(pieces) }: DecodeOptions & { index?: Int32Array<ArrayBuffer> },
  ): Promise<Value | undefined> {
    if (
      !executor.promptsThroughCache && tokens.shape[0] > 2 * pieces.length && pieces.every(({ start }) => start === 0)
    ) {
      return await prefill(generator, cache, tokens, pieces, { logits });
    }
    const made: Value[] = [];
    const own = (values: Record<string, Value>) => (made.push(...Object.values(values)), values);
    const positions = Int32Array.from(
      pieces.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i)),
    );
    const shape = [positions.length, config.headDim / 2];
    const shared = (type: "full" | "sliding") => {
      const { cos, sin } = ropeTables(type === "full" ? config.rope : config.ropeLocal, config.headDim, positions);
      return prefixed(
        `${type}.`,
        own({
          ...cache.places(pieces, type === "full" ? Infinity : config.slidingWindow),
          cos: executor.tensor(cos, shape),
          sin: executor.tensor(sin, shape),
        }),
      );
    };
    const both = { ...shared("full"), ...slides ? shared("sliding") : {} };
    const { index } = own({ index: executor.tensor(last, [last.length]) });
    let x: Value | undefined;
    for (const { from, to, silent, spoken } of pieces.every(({ count }) => count === 1) ? short : long) {
      const inputs: Record<string, Value> = { ...both };
      for (let l = from; l < to; l++) Object.assign(inputs, prefixed(`${l - from}.`, cache.values(l, pieces)));
      if (from === 0) inputs.tokens = tokens;
      else inputs.x = x!;
      const ends = logits && to === config.layers;
      if (ends) inputs.index = index;
      const outputs = await executor.run(ends ? spoken : silent, inputs);
      if (x) executor.release(x);
      x = outputs.x ?? outputs.logits;
    }
    executor.release(...made);
    if (logits) return x;
    executor.release(x!);
  }
}

/** i32: the last token of each piece among all new tokens. */
function lastOf(pieces: Piece[]): Int32Array<ArrayBuffer> {
  let end = 0;
  return Int32Array.from(pieces, ({ count }) => (end += count) - 1);
}

/** The same for sequences that begin, as a packed batch whose keys and values are stored afterwards. */
async function prefill(
  generator: Generator,
  cache: KvCache,
  tokens: Value,
  pieces: Piece[],
  { logits: wanted }: DecodeOptions,
): Promise<Value | undefined> {
  const { executor, config, weights, adapter } = generator;
  const batch = makeBatch(pieces.map(({ count }) => ({
    tokens: new Int32Array(count),
    targets: new Uint8Array(count),
  })));
  const values = batchValues(executor, batch, config), rows = cache.rows(pieces);
  const index = executor.tensor(rows, [rows.length]), last = executor.tensor(lastOf(pieces), [pieces.length]);
  let { x } = await executor.run(embedSegment(config), { embed_tokens: weights.embed_tokens, tokens });
  const segment = layerInferenceSegment({ config, loraScale: adapter?.scale ?? 0 }, ["k", "v"]);
  for (let l = 0; l < config.layers; l++) {
    const shared = config.layerTypes[l] === "sliding" ? values.sliding : values.full;
    const { y, k, v } = await executor.run(segment, { ...layerWeights(generator, l), ...shared, x });
    cache.store(l, { k, v, index });
    executor.release(x, k, v);
    x = y;
  }
  const { norm, lm_head } = weights;
  const logits = wanted
    ? (await executor.run(logitsSegment(config), { x, index: last, norm, lm_head })).logits
    : undefined;
  executor.release(x, index, last);
  releaseBatch(executor, values);
  return logits;
}
