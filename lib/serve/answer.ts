/**
 * An answer as events: text in sendable pieces with the probabilities of its tokens, and one end. Starts the engine's
 * work, cuts at stop strings, and gives the work up when it is not wanted any more.
 */
import type { Tokenizer } from "../text/tokenizer.ts";
import type { TokenEvent, TokenRequest, TokenStream } from "./engine.ts";
import type { Service } from "./service.ts";
import { readCharacters, scanForStops } from "./text_pieces.ts";

export interface LogprobEntry {
  token: string;
  logprob: number;
  bytes: number[];
  top: { token: string; logprob: number; bytes: number[] }[];
}

export type TextEvent =
  | { kind: "text"; text: string; logprobs: LogprobEntry[] }
  | { kind: "end"; finish: "stop" | "length"; tokens: number; cachedTokens: number; logprobs: LogprobEntry[] };

export interface AnswerOptions {
  stops: string[];
  /** Special tokens to be read as text. */
  keep?: ReadonlySet<number>;
  /** Asked after each piece: whether the answer is long enough. */
  enough?: () => boolean;
}

/**
 * Begins an answer. Throws QueueFull at once; the rest comes with the events. The signal of `request` is the client's:
 * the answer ends without an end event when it is aborted.
 */
export function startAnswer(
  service: Service,
  request: TokenRequest,
  options: AnswerOptions,
): AsyncGenerator<TextEvent> {
  const own = new AbortController();
  const leave = () => own.abort();
  own.signal.addEventListener("abort", () => request.constraint?.dispose(), { once: true });
  if (request.signal.aborted) own.abort();
  else request.signal.addEventListener("abort", leave, { once: true });
  let stream: TokenStream;
  try {
    stream = service.engine.generate({ ...request, signal: own.signal });
  } catch (error) {
    own.abort();
    throw error;
  }
  const began = performance.now();
  return events();

  async function* events(): AsyncGenerator<TextEvent> {
    try {
      let first = true;
      for await (const event of textOf(stream, service.tokenizer, options)) {
        if (first) service.metrics.firstToken((performance.now() - began) / 1000);
        first = false;
        if (own.signal.aborted) return;
        yield event;
      }
    } finally {
      request.signal.removeEventListener("abort", leave);
      own.abort();
    }
  }
}

async function* textOf(
  stream: TokenStream,
  tokenizer: Tokenizer,
  { stops, keep, enough }: AnswerOptions,
): AsyncGenerator<TextEvent> {
  const characters = readCharacters(tokenizer, keep), scanner = scanForStops(stops);
  let waiting: LogprobEntry[] = [];
  let tokens = 0, cut = false, finish: "stop" | "length" | undefined;
  const takeLogprobs = () => waiting.splice(0);
  for await (const event of stream) {
    const isEnd = event.finish === "stop";
    if (!isEnd) {
      tokens++;
      if (event.logprob !== undefined) waiting.push(entryOf(event, tokenizer));
      const { text, stopped } = scanner.push(characters.push(event.token));
      if (text !== "") yield { kind: "text", text, logprobs: stopped ? [] : takeLogprobs() };
      if (stopped || enough?.()) {
        [finish, cut] = ["stop", true];
        waiting = [];
        break;
      }
    }
    if (event.finish) {
      finish = event.finish;
      break;
    }
  }
  // The engine ended without a last token: the client has left.
  if (finish === undefined) return;
  const rest = cut ? "" : scanner.push(characters.end()).text + scanner.end();
  if (rest !== "") yield { kind: "text", text: rest, logprobs: takeLogprobs() };
  yield { kind: "end", finish, tokens, cachedTokens: stream.cachedTokens, logprobs: takeLogprobs() };
}

function entryOf({ token, logprob, top }: TokenEvent, tokenizer: Tokenizer): LogprobEntry {
  const described = (id: number, value: number) => {
    const bytes = tokenizer.bytesOf(id);
    // JSON has no infinity.
    return { token: new TextDecoder().decode(bytes), logprob: Math.max(value, -9999), bytes: [...bytes] };
  };
  return { ...described(token, logprob!), top: (top ?? []).map((each) => described(each.token, each.logprob)) };
}

/** Several answers' events as they come, each with its answer's index. */
export async function* mergeAnswers<T>(answers: AsyncGenerator<T>[]): AsyncGenerator<{ index: number; event: T }> {
  const pending = new Map<number, Promise<{ index: number; result: IteratorResult<T> }>>();
  const ask = (index: number) => pending.set(index, answers[index].next().then((result) => ({ index, result })));
  try {
    for (let i = 0; i < answers.length; i++) ask(i);
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      if (result.done) pending.delete(index);
      else {
        yield { index, event: result.value };
        ask(index);
      }
    }
  } finally {
    for (const promise of pending.values()) promise.catch(() => {});
    await Promise.all(answers.map((answer) => answer.return(undefined)));
  }
}
