/**
 * Reads fields of a configuration (parsed JSON or GGUF metadata), collecting every problem so that one error names them
 * all. No meaning of any field is known here.
 */
import { UserError } from "../errors.ts";

type Raw = (key: string) => unknown;

export interface Fields {
  /** Whether the key is there and neither null nor undefined. */
  has(key: string): boolean;
  raw(key: string): unknown;
  /** A whole number in 1..max (default 2^31 - 1); `fallback` where the key is missing. */
  count(key: string, options?: { fallback?: number; max?: number }): number;
  /** A finite number above 0, and below `below` where that is given. */
  positive(key: string, options?: { fallback?: number; below?: number }): number;
  flag(key: string, options: { fallback: boolean }): boolean;
  text(key: string, options: { fallback: string }): string;
  /** Token ids: one, several or none. */
  ids(key: string): number[];
  /** Adds a problem, e.g. "hidden_act is gelu, which llama does not support". */
  problem(message: string): void;
  /** Throws one UserError if there were problems. */
  finish(options?: { hint?: string }): void;
}

/** `source` opens the error: the file's path. Numbers of GGUF may be bigint. */
export function readFields(raw: Raw, options: { source: string }): Fields {
  const problems: string[] = [];
  const problem = (message: string) => void (problems.includes(message) || problems.push(message));

  function number(key: string, fallback: number | undefined, valid: (x: number) => boolean, wanted: string): number {
    const found = raw(key) ?? fallback;
    const value = typeof found === "bigint" ? Number(found) : found;
    if (typeof value === "number" && valid(value)) return value;
    problem(found === undefined ? `${key} is missing` : `${key} is ${show(found)}, expected ${wanted}`);
    return 1;
  }

  function typed<T extends boolean | string>(key: string, fallback: T): T {
    const found = raw(key) ?? fallback;
    const type = typeof fallback;
    if (found === fallback || typeof found === type) return found as T;
    problem(`${key} is ${show(found)}, expected a ${type}`);
    return fallback;
  }

  return {
    raw,
    problem,
    has: (key) => raw(key) !== undefined && raw(key) !== null,
    count: (key, { fallback, max = 2 ** 31 - 1 } = {}) =>
      number(key, fallback, (x) => Number.isInteger(x) && x >= 1 && x <= max, `a whole number from 1 to ${max}`),
    positive: (key, { fallback, below = Infinity } = {}) =>
      number(key, fallback, (x) => x > 0 && x < below, `a number above 0${below < Infinity ? `, below ${below}` : ""}`),
    flag: (key, { fallback }) => typed(key, fallback),
    text: (key, { fallback }) => typed(key, fallback),
    ids(key) {
      const found = raw(key) ?? [];
      const ids = (Array.isArray(found) ? found : [found]).map(Number);
      if (ids.every((id) => Number.isInteger(id) && id >= 0)) return ids;
      problem(`${key} is ${show(found)}, expected token ids`);
      return [];
    },
    finish({ hint } = {}) {
      if (problems.length > 0) throw new UserError(`${options.source}: ${problems.join("; ")}`, { hint });
    },
  };
}

/** A short form of any value for a message. */
export function show(value: unknown): string {
  const text = typeof value === "string"
    ? `"${value}"`
    : typeof value === "bigint"
    ? `${value}`
    : JSON.stringify(value);
  return (text ?? String(value)).slice(0, 60);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
