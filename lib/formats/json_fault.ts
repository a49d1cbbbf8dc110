/**
 * What JSON.parse does not tell: where a text stops being JSON, and keys written twice in one object (the last would
 * win silently). A checker, not a parser: run it first, then JSON.parse.
 */

export interface JsonFault {
  /** The key that occurs twice; absent for a syntax error. */
  duplicateKey?: string;
  /** UTF-8 offset of the second occurrence, or of the first byte that cannot stand there (the length at a sudden end). */
  offset: number;
}

/** Deeper nesting counts as a fault: no file we read needs it. */
const maxDepth = 64;
const whitespace = /[ \t\n\r]*/y;
const atom = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** The first fault of `text`, or undefined when it is one JSON value without repeated keys. */
export function jsonFault(text: string): JsonFault | undefined {
  /** Keys seen in each open object, null for an open array. */
  const open: (Set<string> | null)[] = [];
  let at = 0;
  const fault = (index: number, duplicateKey?: string): JsonFault => ({
    duplicateKey,
    offset: new TextEncoder().encode(text.slice(0, index)).length,
  });
  /** "item": a value; "first": a value or key, or the end of what just opened; "next": a comma or an end. */
  let expected: "item" | "first" | "next" = "item";
  while (true) {
    at = matchAt(whitespace, { text, at })!;
    const inside = open.at(-1), end = inside === null ? "]" : "}";
    if (expected === "next") {
      if (open.length === 0) return at === text.length ? undefined : fault(at);
      if (text[at] === ",") [at, expected] = [at + 1, "item"];
      else if (text[at] === end) {
        open.pop();
        at++;
      } else return fault(at);
      continue;
    }
    if (expected === "first" && text[at] === end) {
      open.pop();
      [at, expected] = [at + 1, "next"];
      continue;
    }
    if (inside) {
      const stop = stringEnd({ text, at });
      if (stop.fault !== undefined) return fault(stop.fault);
      const key = JSON.parse(text.slice(at, stop.end)) as string;
      if (inside.has(key)) return fault(at, key);
      inside.add(key);
      at = matchAt(whitespace, { text, at: stop.end })!;
      if (text[at] !== ":") return fault(at);
      at = matchAt(whitespace, { text, at: at + 1 })!;
    }
    if (text[at] === "{" || text[at] === "[") {
      if (open.length === maxDepth) return fault(at);
      open.push(text[at] === "{" ? new Set() : null);
      [at, expected] = [at + 1, "first"];
      continue;
    }
    if (text[at] === '"') {
      const stop = stringEnd({ text, at });
      if (stop.fault !== undefined) return fault(stop.fault);
      at = stop.end;
    } else {
      const stop = matchAt(atom, { text, at });
      if (stop === undefined) return fault(at);
      at = stop;
    }
    expected = "next";
  }
}

/** Where the sticky pattern's match at this place ends. */
function matchAt(pattern: RegExp, place: { text: string; at: number }): number | undefined {
  pattern.lastIndex = place.at;
  return pattern.test(place.text) ? pattern.lastIndex : undefined;
}

/** The end of the string that must start here, or where it goes wrong. */
function stringEnd(place: { text: string; at: number }): { end: number; fault?: number } {
  const { text, at } = place;
  if (text[at] !== '"') return { end: at, fault: at };
  for (let i = at + 1; i < text.length;) {
    const c = text.charCodeAt(i);
    if (c === 0x22) return { end: i + 1 };
    if (c < 0x20) return { end: i, fault: i };
    if (c !== 0x5c) {
      i++;
      continue;
    }
    const next = matchAt(escape, { text, at: i });
    if (next === undefined) return { end: i, fault: i };
    i = next;
  }
  return { end: text.length, fault: text.length };
}
