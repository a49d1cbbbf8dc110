/**
 * Answers to a batch of prompts of different lengths, token by token: one packed pass over the prompts, then one pass a
 * token against cached keys and values. Knows token ids only; text is lib/text's.
 */
import { UserError } from "../errors.ts";
import type { SampleOptions, Value } from "../ops.ts";
import type { ModelConfig } from "./config.ts";
import { type Generator, makeDecoder } from "./decode.ts";
import { makeKvCache } from "./kv_cache.ts";
import { sampleToken, type SamplingOptions } from "./sample.ts";

export type { Generator } from "./decode.ts";

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
    ...config,
    slots: rows.length,
    length: Math.min(Math.max(...prompts.map(({ length }) => length)) + options.maxNewTokens, config.maxPositions),
  });
  const decode = makeDecoder(generator, cache), deviceChoice = choiceOnDevice(options);
  const everything = prompts.map((prompt, slot) => ({ slot, start: 0, count: prompt.length }));
  /** Rows of the pass that is under way, in the order of its logits. */
  let asked = rows.map((_, row) => row);
  /** The places of their last tokens, of `more` beyond those known; a finished row stays where it is. */
  const places = (more: number) =>
    asked.map((slot) => {
      const { history, finished } = rows[slot];
      return { slot, start: history.length - 1 + (finished ? 0 : more), count: 1 };
    });
  const full = ({ history, added }: Row, more: number) =>
    added + more >= options.maxNewTokens || history.length + more >= config.maxPositions;
  /** What became of the last tokens: logits after them, or after those that come next, unknown here as yet. */
  let logits: Value | undefined, next: Value | undefined;
  try {
    logits = await decode(Int32Array.from(prompts.flatMap((prompt) => Array.from(prompt))), everything, {
      logits: true,
    }) as Value;
    for (let step = 0;; step++) {
      let tokens: ArrayLike<number>;
      if (deviceChoice && executor.chooseTokens) {
        const choice = executor.chooseTokens(logits, rows.map((_, row) => ({ ...deviceChoice, row, step })));
        // The next pass is on its way before anybody has seen these tokens: where all rows end with them, in vain. A
        // finished row goes on as a passenger: any token again, at the place that it already has.
        const goesOn = rows.some((row) => !row.finished && !full(row, 1));
        [tokens, next] = await Promise.all([
          choice.numbers,
          goesOn ? decode(choice.tokens, places(1), { logits: true }) : undefined,
        ]);
        executor.release(choice.tokens);
      } else {
        const all = await executor.read(logits), V = config.vocabSize;
        tokens = asked.map((row, i) =>
          sampleToken(all.subarray(i * V, (i + 1) * V), { ...options, history: rows[row].history, row, step })
        );
      }
      executor.release(logits);
      logits = undefined;
      const chosen: GeneratedToken[] = [];
      for (const [i, row] of asked.entries()) {
        const state = rows[row], token = tokens[i];
        if (state.finished) continue;
        state.history.push(token);
        state.added++;
        const finish = stopIds.has(token) ? "stop" : full(state, 0) ? "length" : undefined;
        state.finished = finish !== undefined;
        chosen.push(finish ? { row, token, finish } : { row, token });
      }
      yield* chosen;
      if (rows.every(({ finished }) => finished)) return;
      logits = next;
      next = undefined;
      if (logits) continue;
      asked = asked.filter((row) => !rows[row].finished);
      const last = Int32Array.from(asked, (row) => rows[row].history.at(-1)!);
      logits = await decode(last, places(0), { logits: true }) as Value;
    }
  } finally {
    executor.release(...[logits, next].filter((value) => value !== undefined));
    cache.release();
  }
}

/** A prompt and what was added to it. */
interface Row {
  history: number[];
  added: number;
  finished: boolean;
}

/** All that decides a choice, where a device can make it: a repetition penalty needs the history. */
function choiceOnDevice(options: SamplingOptions): Omit<SampleOptions, "row" | "step"> | undefined {
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
