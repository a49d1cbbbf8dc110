/**
 * What a chat template writes around functions, calls of them and their results: the counterpart of turns.ts for
 * conversations with tools, found in the same way and compared with what the template itself renders.
 *
 * How JSON is spaced is not among it: templates write `{"a": 1}`, Ollama `{"a":1}`, and both mean the same.
 */
import { type Message, renderChat } from "../text/chat_template.ts";
import type { ChatTemplate, Turns } from "./turns.ts";

export interface ToolTurns {
  /** The first user message with functions before it: text, functions with a text between each two, text, user, text. */
  opening: Opening;
  /** The same after a system message, with the text before that; null when the template refuses one. */
  openingWithSystem: { before: string; rest: Opening } | null;
  /** Whether a function is written whole, or only what its "function" holds. */
  isWhole: boolean;
  /** An answer that calls: before the first name, between name and arguments, between two calls. */
  call: { before: string; middle: string; between: string };
  /** From the arguments of the last call to the first result, between two results, and after the last. */
  result: { before: string; between: string; after: string };
  /** Whether a result stands there as a JSON string. */
  isJson: boolean;
}

interface Opening {
  before: string;
  between: string;
  after: string;
  end: string;
}

const user = "\u0001USE\u0001", system = "\u0001SYS\u0001", answer = "\u0001ANS\u0001";
const result = 'RES "quoted"';
const functions = ["one", "two"].map((name) => ({
  type: "function",
  function: { name: `${name}_FUN`, description: "D", parameters: { type: "object", properties: {} } },
}));
/** Ids differ from call to call, so that a template which writes them is found to have no fixed text there. */
const call = (name: string, at: number) => ({
  id: `call${at}`.padEnd(9, "0"),
  type: "function",
  function: { name: `${name}_CALLED`, arguments: { [`${name}_ARG`]: 1 } },
});

/** One letter a message: s(ystem), u(ser), a(nswer), c(all), d(ouble call), r(esult). */
function conversation(letters: string): Message[] {
  const calling = (...tool_calls: unknown[]) => ({ role: "assistant", content: "", tool_calls });
  return [...letters].map((letter, i): Message => {
    if (letter === "s") return { role: "system", content: system };
    if (letter === "u") return { role: "user", content: user };
    if (letter === "a") return { role: "assistant", content: answer };
    if (letter === "c") return calling(call("one", 10 + i));
    if (letter === "d") return calling(call("one", 10 + i), call("two", 50 + i));
    return { role: "tool", content: result, name: "one_CALLED", tool_call_id: call("one", 10 + i).id };
  });
}

/** The texts, or null when the template has no functions, or does with them what cannot be said in fixed texts. */
export function toolTurnsOf(template: ChatTemplate, turns: Turns): ToolTurns | null {
  const render = (letters: string, count: number, addGenerationPrompt = false) => {
    try {
      const text = renderChat(template.template, {
        ...template,
        messages: conversation(letters),
        tools: count > 0 ? functions.slice(0, count) : undefined,
        addGenerationPrompt,
      });
      return text.replace(functionPattern, "⟦$1⟧").replace(partPattern, "⟪$1⟫").replace(argumentPattern, "⟦ARG⟧");
    } catch {
      return null;
    }
  };
  const found = textsOf(render);
  if (!found) return null;
  for (const letters of ["u", "uau", "ucr", "ucrr", "ucrau", "ucrcr", "ucraucr", "udrr"]) {
    for (const start of found.openingWithSystem ? ["", "s"] : [""]) {
      for (const count of [1, 2]) {
        const expected = render(start + letters, count, true);
        // A template may refuse two calls at a time.
        if (expected === null && letters.includes("d")) continue;
        if (expected !== composed(found, turns, { letters: start + letters, count })) return null;
      }
    }
  }
  return found;
}

type Render = (letters: string, count: number) => string | null;

/** Cuts rendered conversations at the marked places: ⟦one⟧ a whole function, ⟪one⟫ its inner part, ⟦ARG⟧ arguments. */
function textsOf(render: Render): ToolTurns | null {
  const one = render("u", 1), two = render("u", 2), isWhole = two?.includes("⟦one⟧") ?? false;
  const opening = one && two ? openingOf(one, two) : null;
  const called = render("ucr", 1), again = render("ucrr", 1), doubled = render("udrr", 1);
  if (!opening || !called || !again) return null;
  const isJson = called.includes(JSON.stringify(result)), shown = isJson ? JSON.stringify(result) : result;
  // Behind the user's text: call, its arguments, result.
  const parts = called.slice(called.indexOf(user) + user.length).split(/one_CALLED|⟦ARG⟧/);
  const results = parts[2]?.split(shown), both = again.split(shown);
  if (parts.length !== 3 || results.length !== 2 || both.length !== 3 || !parts[0].startsWith(opening.end)) return null;
  const withSystem = [render("su", 1), render("su", 2)];
  const systemAt = withSystem[0]?.indexOf(system) ?? -1;
  const [alone, pair] = withSystem.map((text) => text?.slice(systemAt + system.length) ?? "");
  const rest = systemAt < 0 ? null : openingOf(alone, pair);
  if (systemAt >= 0 && !rest) return null;
  return {
    opening,
    openingWithSystem: rest && { before: withSystem[0]!.slice(0, systemAt), rest },
    isWhole,
    call: {
      before: parts[0].slice(opening.end.length),
      middle: parts[1],
      between: doubled?.split(/⟦ARG⟧|two_CALLED/)[1] ?? "",
    },
    result: { before: results[0], between: both[1], after: results[1] },
    isJson,
  };
}

/** What stands around one function and around two before the user's text. */
function openingOf(one: string, two: string): Opening | null {
  const mark = /[⟦⟪](?:one|two)[⟧⟫]/, whole = new RegExp(`${mark.source}|${user}`);
  const [a, b] = [one.split(whole), two.split(whole)];
  if (a.length !== 3 || b.length !== 4) return null;
  return { before: a[0], between: b[1], after: a[1], end: a[2] };
}

/** What the Go template makes of a conversation with `count` functions, ready for the answer. */
function composed(
  found: ToolTurns,
  turns: Turns,
  { letters, count }: { letters: string; count: number },
): string {
  const list = ["one", "two"].slice(0, count).map((name) => found.isWhole ? `⟦${name}⟧` : `⟪${name}⟫`);
  const shown = found.isJson ? JSON.stringify(result) : result;
  const calling = (names: string[]) =>
    names.map((name, i) => (i > 0 ? found.call.between : found.call.before) + `${name}_CALLED${found.call.middle}⟦ARG⟧`)
      .join("");
  const first = ({ before, between, after, end }: Opening) => before + list.join(between) + after + user + end;
  const hasSystem = letters.startsWith("s"), rest = hasSystem ? letters.slice(1) : letters;
  const text = [...rest].map((letter, i) => {
    const before = i > 0 && rest[i - 1] === "r" && letter !== "r" ? found.result.after : "";
    if (letter === "u" && i > 0) return before + turns.later[0] + user + turns.later[1];
    if (letter === "u" && hasSystem) {
      const { before, rest } = found.openingWithSystem!;
      return before + system + first(rest);
    }
    if (letter === "u") return first(found.opening);
    if (letter === "a") return before + turns.answer + answer;
    if (letter === "r") return (rest[i - 1] === "r" ? found.result.between : found.result.before) + shown;
    return before + calling(["one", "two"].slice(0, letter === "d" ? 2 : 1));
  });
  return text.join("") + (letters.endsWith("r") ? found.result.after : "") + turns.generation;
}

/** A JSON value in whatever spacing. */
function jsonPattern(value: unknown): string {
  const tokens = JSON.stringify(value).match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^"{}[\]:,]+/g)!;
  return tokens.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("\\s*");
}

const nameOf = (source: string) => source.replaceAll("one_FUN", "(one|two)_FUN");
const functionPattern = new RegExp(nameOf(jsonPattern(functions[0])), "g");
const partPattern = new RegExp(nameOf(jsonPattern(functions[0].function)), "g");
const argumentPattern = /\{\s*"(?:one|two)_ARG"\s*:\s*1\s*\}/g;
