/**
 * Answers that must follow a grammar: a JSON schema, or calls of functions. The grammars are xgrammar's, on a thread of
 * its own (grammar_worker.js): compiling one takes from milliseconds to seconds, in which other answers go on. Here the
 * thread is started when it is first needed, fed with the model's vocabulary as bytes, and asked which tokens may come
 * next while the model computes them.
 */
import library from "@mlc-ai/web-xgrammar/lib/index.js" with { type: "text" };
import type { StructuralTagFormat } from "@mlc-ai/web-xgrammar";
import type { Tokenizer } from "../text/tokenizer.ts";
import { ApiError } from "./api_error.ts";
import { EngineStopped, type TokenConstraint } from "./engine.ts";
import script from "./grammar_worker.js" with { type: "text" };
import { toolMarks } from "./tool_formats.ts";

export type GrammarSpec =
  | { kind: "json"; schema: Record<string, unknown> }
  /** Text around JSON, in xgrammar's own description of it. */
  | { kind: "tags"; format: StructuralTagFormat };

export interface Grammars {
  /** A constraint for one answer. `param` names the field that asked for it. Errors: ApiError. */
  constraint(spec: GrammarSpec, param: string): Promise<TokenConstraint>;
  /** Ends the thread. */
  close(): void;
}

/** Tokens of white space in a row, of which models can write endlessly many where JSON allows them. */
const blankTokens = 4;

type Mask = Uint32Array | null;
type Reply = { id: number; mask: Mask } | { id: number; error: string };

/** The thread, and who waits for a reply by the answer's number. */
interface Thread {
  worker: Worker;
  waiting: Map<number, { resolve: (mask: Mask) => void; reject: (error: Error) => void }>;
  /** Why it has ended: nobody may wait for it any more. */
  ended?: Error;
}

export function createGrammars(tokenizer: Tokenizer): Grammars {
  let vocabulary: Promise<Vocabulary> | undefined, thread: Thread | undefined;
  let answers = 0, closed = false;

  function ask(own: Thread, message: { id: number } & Record<string, unknown>): Promise<Mask> {
    const { worker, waiting, ended } = own;
    return new Promise((resolve, reject) => {
      if (ended) return reject(ended);
      waiting.set(message.id, { resolve, reject });
      worker.postMessage(message);
    });
  }

  function end(error: Error): void {
    if (!thread) return;
    thread.worker.terminate();
    thread.ended = error;
    for (const { reject } of thread.waiting.values()) reject(error);
    thread = undefined;
  }

  function start({ bytes, ends }: Vocabulary): Thread {
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const worker = new Worker(url, { type: "module" }), started: Thread = { worker, waiting: new Map() };
    URL.revokeObjectURL(url);
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const waiter = started.waiting.get(data.id);
      started.waiting.delete(data.id);
      if ("error" in data) waiter?.reject(new GrammarError(data.error));
      else waiter?.resolve(data.mask);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (thread === started) end(new Error(`The thread of grammars has failed: ${event.message}`));
    };
    worker.postMessage({ kind: "open", library, bytes, ends, stops: tokenizer.eosIds });
    return started;
  }

  return {
    async constraint(spec, param) {
      if (tokenizer.eosIds.length === 0) {
        throw new ApiError(400, `${param}: this model has no token that ends an answer`, { param });
      }
      const words = await (vocabulary ??= readVocabulary(tokenizer));
      if (closed) throw stopping();
      const own = thread ??= start(words), id = ++answers;
      try {
        const mask = await ask(own, { kind: "start", id, spec });
        return follow(mask, {
          stops: tokenizer.eosIds,
          blanks: words.blanks,
          accept: (token) => ask(own, { kind: "accept", id, token }),
          dispose: () => own.worker.postMessage({ kind: "end", id }),
        });
      } catch (error) {
        if (!(error instanceof GrammarError)) throw error;
        const why = error.message === "" ? "" : `: ${error.message}`;
        throw new ApiError(400, `${param}: the schema cannot be made a grammar${why}`, {
          param,
          code: "invalid_json_schema",
        });
      }
    },
    close() {
      closed = true;
      end(stopping());
    },
  };
}

const stopping = () => new EngineStopped("The server is stopping");

/** What the library says of a grammar that it cannot read. */
class GrammarError extends Error {}

/** The tokens' bytes one after the other, where each ends, and which are white space. */
interface Vocabulary {
  bytes: Uint8Array;
  ends: Uint32Array;
  blanks: Uint32Array;
}

/** Some tokens at a time, between which others go on. Marks that are no text are in no grammar: they have no bytes. */
async function readVocabulary(tokenizer: Tokenizer): Promise<Vocabulary> {
  const { vocabSize } = tokenizer, marks = new Set(toolMarks.map((mark) => tokenizer.idOf(mark)));
  const ends = new Uint32Array(vocabSize), blanks = new Uint32Array(Math.ceil(vocabSize / 32));
  let bytes = new Uint8Array(1 << 20), length = 0;
  for (let id = 0; id < vocabSize; id++) {
    if (id % 1000 === 999) await new Promise((resolve) => setTimeout(resolve));
    const own = tokenizer.isSpecial(id) && !marks.has(id) ? new Uint8Array() : tokenizer.bytesOf(id);
    if (length + own.length > bytes.length) {
      const larger = new Uint8Array(2 * (length + own.length));
      larger.set(bytes);
      bytes = larger;
    }
    bytes.set(own, length);
    ends[id] = length += own.length;
    if (own.length > 0 && own.every((byte) => byte === 32 || byte === 9 || byte === 13 || byte === 10)) {
      blanks[id >> 5] |= 1 << (id & 31);
    }
  }
  return { bytes: bytes.slice(0, length), ends, blanks };
}

interface Following {
  stops: number[];
  blanks: Uint32Array;
  /** What may come after a token. */
  accept(token: number): Promise<Mask>;
  dispose(): void;
}

function follow(first: Mask, { stops, blanks, accept, dispose }: Following): TokenConstraint {
  let mask = first, blankRun = 0, disposed = false;
  let next: Promise<void> | undefined, failure: Error | undefined;
  const has = (bits: Uint32Array, token: number) => (bits[token >> 5] >>> (token & 31) & 1) === 1;
  const now = (): Mask => {
    if (failure) throw failure;
    if (next) throw new Error("asked before it was ready");
    return mask;
  };
  return {
    ready: () => next,
    allowed() {
      if (disposed) return null;
      const bits = now();
      if (!bits || blankRun < blankTokens) return bits;
      const narrow = bits.map((word, i) => word & ~blanks[i]);
      return narrow.some((word) => word !== 0) ? narrow : bits;
    },
    accept(token) {
      if (disposed) return;
      const bits = now();
      if (!bits) return;
      if (!has(bits, token)) throw new Error(`token ${token} is not in the grammar`);
      blankRun = has(blanks, token) ? blankRun + 1 : 0;
      next = accept(token)
        .then((found) => void (mask = found), (error) => void (failure = error))
        .finally(() => next = undefined);
    },
    done() {
      if (disposed) return true;
      const bits = now();
      return !bits || stops.some((stop) => has(bits, stop));
    },
    dispose() {
      if (disposed) return;
      disposed = true;
      dispose();
    },
  };
}
