/** Whole answers of a local model to a list of prompts, several at a time, with how long each is and how it ended. */
import { generate, type Generator } from "../model/generate.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

export interface LocalAnswer {
  /** Index of the prompt. */
  prompt: number;
  text: string;
  finish: "stop" | "length";
  /** Tokens made, the one that ends the answer included. */
  tokens: number;
  /** Milliseconds from the prompt to the first token, and to the end. */
  firstToken: number;
  total: number;
}

export interface AnswerOptions {
  tokenizer: Tokenizer;
  maxNewTokens: number;
  temperature?: number;
  seed?: number;
  /** Answers made together. With 1 the times are those of one answer alone. */
  together: number;
  /** Told after each token. */
  progress?: (done: { answers: number; tokens: number }) => void;
  signal?: AbortSignal;
}

/** Yields each group of answers when it is done; when the signal says stop, those that are whole, and no more. */
export async function* answerAll(
  generator: Generator,
  prompts: number[][],
  { tokenizer, maxNewTokens, temperature, seed, together, progress, signal }: AnswerOptions,
): AsyncGenerator<LocalAnswer> {
  let answers = 0, tokens = 0;
  for (let start = 0; start < prompts.length && !signal?.aborted; start += together) {
    const group = prompts.slice(start, start + together), begun = performance.now();
    const made = group.map((): Made => ({ ids: [], first: 0, end: 0 }));
    const options = { stopIds: tokenizer.eosIds, maxNewTokens, temperature, seed };
    for await (const { row, token, finish } of generate(generator, group, options)) {
      const answer = made[row], now = performance.now() - begun;
      if (answer.ids.length === 0) answer.first = now;
      answer.ids.push(token);
      if (finish) {
        [answer.finish, answer.end] = [finish, now];
        answers++;
      }
      progress?.({ answers, tokens: ++tokens });
      // Lets Ctrl-C in, however synchronous the engine is.
      await new Promise((resolve) => setTimeout(resolve));
      if (signal?.aborted) break;
    }
    for (const [i, { ids, finish, first, end }] of made.entries()) {
      if (!finish) continue;
      const text = tokenizer.decode(finish === "stop" ? ids.slice(0, -1) : ids, { skipSpecial: true }).trim();
      yield { prompt: start + i, text, finish, tokens: ids.length, firstToken: first, total: end };
    }
  }
}

interface Made {
  ids: number[];
  finish?: "stop" | "length";
  first: number;
  end: number;
}
