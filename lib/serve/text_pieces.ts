/**
 * Tokens to text that can be sent: whole characters only, and nothing that may turn out to be the beginning of a stop
 * string.
 */
import type { Tokenizer } from "../text/tokenizer.ts";

export interface CharacterReader {
  /** The characters that this token completes; "" in the middle of one. */
  push(token: number): string;
  /** What is left at the end: a character cut short is U+FFFD. */
  end(): string;
}

/** Special tokens are left out, all but those in `keep`. */
export function readCharacters(tokenizer: Tokenizer, keep: ReadonlySet<number> = new Set()): CharacterReader {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push(token) {
      if (tokenizer.isSpecial(token) && !keep.has(token)) return "";
      return decoder.decode(tokenizer.bytesOf(token), { stream: true });
    },
    end: () => decoder.decode(),
  };
}

export interface StopScanner {
  /** The text that is safe to send, and whether a stop string has ended it. */
  push(text: string): { text: string; stopped: boolean };
  /** What was held back and is no stop string after all. */
  end(): string;
}

export function scanForStops(stops: string[]): StopScanner {
  let held = "";
  return {
    push(text) {
      held += text;
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
      if (found.length > 0) {
        const sent = held.slice(0, Math.min(...found));
        held = "";
        return { text: sent, stopped: true };
      }
      const keep = Math.max(0, ...stops.map((stop) => overlap(held, stop)));
      const sent = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text: sent, stopped: false };
    },
    end() {
      const rest = held;
      held = "";
      return rest;
    },
  };
}

/** Length of the longest end of `text` that begins `mark` without being all of it. */
export function overlap(text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}
