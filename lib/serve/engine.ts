/**
 * What stands between the routes and the models: the routes know text, JSON and HTTP, the engine knows token ids. One
 * engine holds one base model, any number of adapters on it, and every request that is being answered.
 */

/** A name that requests may ask for. */
export interface ServedModel {
  /** What requests call it. */
  id: string;
  /** Other names for it. */
  aliases: string[];
  /** The base's id, where this is an adapter on it. */
  parent?: string;
  /** Seconds since 1970 of the files. */
  created: number;
}

export interface TokenRequest {
  /** A served model's id. */
  model: string;
  /** The prompt; at least one token. */
  tokens: Int32Array;
  /** Most tokens to add; the engine ends earlier where the context ends. */
  maxTokens: number;
  /** The answer ends with the first of these. */
  stopIds: ReadonlySet<number>;
  /** 0: the most likely token always. */
  temperature: number;
  /** 1: all. */
  topP: number;
  /** 0: all. */
  topK: number;
  /** 0: all. */
  minP: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** 1: none. */
  repetitionPenalty: number;
  /** Added to the logits of single tokens. */
  logitBias: ReadonlyMap<number, number>;
  /** The same seed and request give the same answer, alone or beside others. */
  seed: number;
  /** Asks for the logarithm of each token's probability, and of this many most likely ones; undefined: not at all. */
  logprobs?: number;
  /** Forbids tokens as the answer goes: constrained decoding. */
  constraint?: TokenConstraint;
  /** Given up: the client has left. Its slot is free before the next token. */
  signal: AbortSignal;
}

/** A grammar over tokens, one for each answer. The engine disposes of it when the request that it has taken ends. */
export interface TokenConstraint {
  /**
   * Until it is known what may come next, which after each `accept` may take a while: nothing else may be asked before
   * it resolves, and it never rejects. undefined: it is known.
   */
  ready(): Promise<void> | undefined;
  /** Tokens allowed next: bit t & 31 of word t >> 5; null: all. */
  allowed(): Uint32Array | null;
  /** Takes the token that was chosen. */
  accept(token: number): void;
  /** Whether the answer may end here. */
  done(): boolean;
  dispose(): void;
}

export interface TokenEvent {
  token: number;
  /** Natural logarithm of its probability before sampling was narrowed, and of the most likely tokens. */
  logprob?: number;
  top?: { token: number; logprob: number }[];
  /** Set on the last token: it is a stop id, or there may be no more. A stop id is not part of the answer. */
  finish?: "stop" | "length";
}

export interface TokenStream extends AsyncIterable<TokenEvent> {
  /** Tokens of the prompt that were found in a cache and not computed again; known with the first token. */
  cachedTokens: number;
}

export interface EngineStats {
  /** Requests being answered, and waiting. */
  running: number;
  waiting: number;
  /** Tokens since the start: of prompts, of those from a cache, of answers. */
  promptTokens: number;
  cachedTokens: number;
  answerTokens: number;
}

/** No place in the queue: try again after so many seconds. */
export class QueueFull extends Error {
  constructor(readonly retryAfter: number) {
    super("The server is busy");
  }
}

/** The engine is stopping, or has stopped after an error, its cause: it answers nothing more. */
export class EngineStopped extends Error {}

export interface Engine {
  /** Most tokens of a prompt and its answer together. */
  readonly contextLength: number;
  /** Requests that it takes at most, those that it answers and those that wait. */
  readonly places: number;
  models(): ServedModel[];
  /**
   * Queues a request. Throws QueueFull at once where there is no place. The routes have checked that the prompt is
   * shorter than `contextLength` and its tokens exist. Ends silently when the signal is aborted.
   */
  generate(request: TokenRequest): TokenStream;
  /** Mean of the final hidden states of each prompt's tokens, of length 1 (L2). */
  embed(model: string, prompts: Int32Array[], signal: AbortSignal): Promise<Float32Array[]>;
  /** Adds an adapter while running; UserError when the folder holds none for this base. */
  addAdapter(adapter: { id: string; folder: string; aliases: string[] }): Promise<void>;
  /** Requests that are being answered end first. */
  removeAdapter(id: string): Promise<void>;
  stats(): EngineStats;
  /** Answers what is running, refuses what is new, then frees everything; `limit` milliseconds at most. */
  close(limit: number): Promise<void>;
}
