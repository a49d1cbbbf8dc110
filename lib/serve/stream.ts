/** An answer on its way: what the engine pushes waits here until its reader asks for it. */
import type { TokenEvent, TokenStream } from "./engine.ts";

export interface PushedStream {
  stream: TokenStream;
  push(event: TokenEvent): void;
  /** Nothing comes after this; what was pushed is still read. */
  end(error?: unknown): void;
}

/** `left` is called where the reader stops reading. */
export function pushedStream(left: () => void): PushedStream {
  const events: TokenEvent[] = [], readers: (() => void)[] = [];
  let ended = false, failure: { error: unknown } | undefined;
  const wake = () => readers.splice(0).forEach((reader) => reader());

  async function* read(): AsyncGenerator<TokenEvent> {
    try {
      while (true) {
        while (events.length > 0) yield events.shift()!;
        if (failure) throw failure.error;
        if (ended) return;
        await new Promise<void>((resolve) => readers.push(resolve));
      }
    } finally {
      left();
    }
  }

  return {
    stream: { cachedTokens: 0, [Symbol.asyncIterator]: read },
    push(event) {
      if (ended) return;
      events.push(event);
      wake();
    },
    end(error) {
      if (ended) return;
      ended = true;
      if (error !== undefined) failure = { error };
      wake();
    },
  };
}
