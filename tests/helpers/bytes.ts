/** Bytes for format tests: joining, little-endian numbers, seeded damage, and the demand for a proper refusal. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";

export function concat(chunks: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> {
  const list = [...chunks];
  const out = new Uint8Array(list.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of list) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

export const utf8 = (text: string) => new TextEncoder().encode(text);

/** `size` bytes of an integer, little-endian; negative ones as two's complement. */
export function le(value: number | bigint, size: number): Uint8Array {
  const out = new Uint8Array(size);
  let rest = BigInt.asUintN(8 * size, BigInt(value));
  for (let i = 0; i < size; i++, rest >>= 8n) out[i] = Number(rest & 255n);
  return out;
}

/** A stream of 32-bit numbers that is the same on every run (xorshift). */
export function randomBits(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** `action` must throw a UserError whose message matches, each of message and hint being one line of sane length. */
export function assertRefused(action: () => unknown, message: RegExp, what = "") {
  assert.throws(action, (error: unknown) => {
    assertUserError(error, what);
    assert.match(error.message, message, what);
    return true;
  });
}

/** `error` is a UserError of one line with a hint of one line. */
export function assertUserError(error: unknown, what = ""): asserts error is UserError {
  assert.ok(error instanceof UserError, `${what}: ${error instanceof Error ? error.stack : error}`);
  for (const line of [error.message, error.hint ?? ""]) {
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(line, /[\x00-\x1f]/, what);
    assert.ok(line.length > 0 && line.length <= 1000, `${what}: ${line.length} characters`);
  }
}
