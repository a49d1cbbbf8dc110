/**
 * Finds calls of functions in an answer while it is made: plain text goes through, of a call the name comes first and
 * then its arguments in pieces. What looked like a call and is none becomes text again, so that nothing is lost.
 */
import { overlap } from "./text_pieces.ts";
import type { ToolFormat } from "./tool_formats.ts";

export type ToolEvent =
  | { kind: "text"; text: string }
  | { kind: "call"; index: number; name: string }
  | { kind: "arguments"; index: number; text: string }
  | { kind: "called"; index: number };

export interface ToolParser {
  push(text: string): ToolEvent[];
  end(): ToolEvent[];
}

/** A call up to its arguments, where these begin as an object does. */
const header =
  /^\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)/;
/** Mistral's later form: the name stands before the arguments. */
const namedHeader = /^\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(?=\{)/;

/** `known`: names of the functions there are. */
export function parseToolCalls(format: ToolFormat, known: ReadonlySet<string>): ToolParser {
  let state: "text" | "call" | "arguments" | "tail" = "text";
  let held = "";
  /** Everything since the call began, should it be none. */
  let raw = "";
  let index = -1;
  let started = false;
  let value = jsonObject();
  /** Whether the call under way is inside a list. */
  let inList = false, named = false;
  const { marker } = format;
  const closing = format.name === "hermes" ? "</tool_call>" : null;

  function push(text: string): ToolEvent[] {
    held += text;
    const events: ToolEvent[] = [];
    while (step(events));
    return events;
  }

  /** Goes as far as one state allows; false: more text is needed. */
  function step(events: ToolEvent[]): boolean {
    switch (state) {
      case "text":
        return readText(events);
      case "call":
        return readHeader(events);
      case "arguments":
        return readArguments(events);
      case "tail":
        return readTail(events);
    }
  }

  function say(events: ToolEvent[], text: string): void {
    if (text === "") return;
    started = true;
    events.push({ kind: "text", text });
  }

  function readText(events: ToolEvent[]): boolean {
    if (!started) {
      // Blank lines before a call are no text.
      const trimmed = held.trimStart();
      if (trimmed === "") return false;
      if (marker === null && beginsBare(trimmed)) return true;
      if (marker === null && format.marks.some((mark) => mark.startsWith(trimmed))) return false;
    }
    if (marker === null) {
      if (index >= 0 && held.trim() === "") return false;
      say(events, take(held.length));
      return false;
    }
    const at = held.indexOf(marker);
    if (at >= 0) {
      const before = take(at);
      if (before.trim() !== "") say(events, before.trimEnd());
      raw = take(marker.length);
      inList = false;
      state = "call";
      return true;
    }
    const safe = held.length - overlap(held, marker);
    const blank = /\s*$/.exec(held.slice(0, safe))![0].length;
    if (safe - blank > 0) say(events, take(safe - blank));
    return false;
  }

  /** Llama's calls have no mark of their own but a `{` at the beginning. */
  function beginsBare(trimmed: string): boolean {
    const mark = format.marks.find((each) => trimmed.startsWith(each));
    if (!mark && !trimmed.startsWith("{")) return false;
    raw = "";
    held = trimmed.slice(mark?.length ?? 0);
    if (mark) raw = mark;
    state = "call";
    return true;
  }

  function readHeader(events: ToolEvent[]): boolean {
    if (format.name === "mistral" && !inList && /^\s*\[/.test(held)) {
      raw += take(held.indexOf("[") + 1);
      inList = true;
    }
    const pattern = format.name === "mistral" && !inList ? namedHeader : header;
    const match = pattern.exec(held);
    if (match) {
      named = pattern === namedHeader;
      const name = named ? match[1] : parseText(match[1]);
      if (name !== undefined && (marker !== null || known.has(name))) {
        raw += take(match[0].length);
        events.push({ kind: "call", index: ++index, name });
        value = jsonObject();
        state = "arguments";
        return true;
      }
    }
    if (closing) {
      const end = held.indexOf(closing);
      if (end < 0) return false;
      return whole(events, take(end), take(closing.length));
    }
    const end = endOfObject(held);
    return end < 0 ? false : whole(events, take(end), "");
  }

  /** A call in another order, or with its arguments as text: read when all of it is there. */
  function whole(events: ToolEvent[], body: string, close: string): boolean {
    const call = readCall(body);
    if (call && (marker !== null || known.has(call.name))) {
      index++;
      events.push({ kind: "call", index, name: call.name });
      events.push({ kind: "arguments", index, text: call.arguments }, { kind: "called", index });
      started = true;
      state = close === "" ? "tail" : "text";
      named = close === "";
      return true;
    }
    state = "text";
    say(events, raw + body + close);
    return true;
  }

  function readArguments(events: ToolEvent[]): boolean {
    if (held === "") return false;
    const end = value.push(held);
    const text = take(end < 0 ? held.length : end);
    events.push({ kind: "arguments", index, text });
    started = true;
    if (end < 0) return false;
    events.push({ kind: "called", index });
    state = "tail";
    return true;
  }

  /** From the end of the arguments to the next call or to text. */
  function readTail(_events: ToolEvent[]): boolean {
    const close = named ? "" : "\\s*\\}";
    const pattern = closing
      ? `^${close}\\s*${closing}`
      : `^${close}\\s*(?:([,;])\\s*(?=\\{)|(\\])|(?=\\{)|(?=[^\\s,;{\\]}]))`;
    const match = new RegExp(pattern).exec(held);
    if (!match) {
      if (held.length <= 64) return false;
      // No end in sight: what follows is text again.
      state = "text";
      return true;
    }
    take(match[0].length);
    raw = "";
    const another = !closing && (match[1] !== undefined || (marker === null && held.startsWith("{")));
    state = another ? "call" : "text";
    return true;
  }

  function take(length: number): string {
    const text = held.slice(0, length);
    held = held.slice(length);
    return text;
  }

  function end(): ToolEvent[] {
    const events: ToolEvent[] = [];
    if (state === "call") {
      const call = readCall(held);
      if (call && (marker !== null || known.has(call.name))) whole(events, take(held.length), "");
      // Behind calls that were made, the beginning of one that was cut off is no text.
      else if (index < 0) say(events, raw + take(held.length));
    } else if (state === "text" && held.trim() !== "" && !(index >= 0 && marker?.startsWith(held.trim()))) {
      say(events, take(held.length));
    }
    held = "";
    return events;
  }

  return { push, end };
}

/** A whole call; `parameters` is Llama's word for arguments. */
function readCall(text: string): { name: string; arguments: string } | undefined {
  let call: unknown;
  try {
    call = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof call !== "object" || call === null) return undefined;
  const fields = call as Record<string, unknown>;
  const inner = typeof fields.function === "object" && fields.function !== null
    ? fields.function as Record<string, unknown>
    : fields;
  const given = inner.arguments ?? inner.parameters ?? {};
  if (typeof inner.name !== "string") return undefined;
  return { name: inner.name, arguments: typeof given === "string" ? given : JSON.stringify(given) };
}

function parseText(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted);
  } catch {
    return undefined;
  }
}

/** Follows a JSON object through pieces of text; `push` gives the index behind its end, or -1. */
function jsonObject(): { push(text: string): number } {
  let depth = 0, quoted = false, escaped = false;
  return {
    push(text) {
      for (let i = 0; i < text.length; i++) {
        const c = text[i];
        if (escaped) escaped = false;
        else if (quoted) [quoted, escaped] = [c !== '"', c === "\\"];
        else if (c === '"') quoted = true;
        else if (c === "{" || c === "[") depth++;
        else if ((c === "}" || c === "]") && --depth === 0) return i + 1;
      }
      return -1;
    },
  };
}

/** Index behind the object that `text` begins with, or -1 while it is not all there. */
function endOfObject(text: string): number {
  const start = text.indexOf("{");
  if (start < 0) return -1;
  const end = jsonObject().push(text.slice(start));
  return end < 0 ? -1 : start + end;
}
