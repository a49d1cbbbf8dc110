/**
 * Messages as data sets write them, to messages as chat templates take them: role and content (OpenAI, ChatML) or from
 * and value (ShareGPT), calls of tools among them, and the list of tools. Reading only; whether the turns make sense is
 * turn_order.ts's.
 */
import type { Message } from "../text/chat_template.ts";
import { describeValue, isObject, readJsonText, readText } from "./fields.ts";

/** Roles by the names that data sets give them; other names stay, for turn_order.ts to judge. */
const roleNames: Record<string, string> = {
  human: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  bot: "assistant",
  model: "assistant",
  ai: "assistant",
  developer: "system",
  observation: "tool",
  function: "tool",
  function_response: "tool",
  tool_response: "tool",
  ipython: "tool",
};

/** Errors: Error that names field and message when something is not as it must be. */
export function readMessages(value: unknown, field: string): Message[] {
  const list = readJsonText(value);
  if (!Array.isArray(list)) throw new Error(`"${field}" must be a list of messages, found ${describeValue(list)}`);
  return list.map((item, i) => {
    const where = `"${field}" message ${i + 1}`;
    if (!isObject(item)) throw new Error(`${where} must be an object, found ${describeValue(item)}`);
    const { role, from, content, value, tool_calls, ...rest } = withoutNulls(item);
    const name = role ?? from;
    if (typeof name !== "string") throw new Error(`${where} has no role`);
    const given = content ?? value;
    const text = Array.isArray(given) ? joinParts(given, where) : readText(given, `${where} content`);
    if (name === "function_call" || name === "tool_call") {
      return { ...rest, role: "assistant", content: "", tool_calls: readCalls(readJsonText(text), where) };
    }
    const key = name.trim().toLowerCase();
    return {
      ...rest,
      role: Object.hasOwn(roleNames, key) ? roleNames[key] : key,
      content: text,
      ...(Array.isArray(tool_calls) && tool_calls.length === 0 || tool_calls === undefined
        ? {}
        : { tool_calls: readCalls(readJsonText(tool_calls), where) }),
    };
  });
}

/** The tools of a row in OpenAI's form; undefined where there are none. */
export function readTools(value: unknown, field: string): unknown[] | undefined {
  const list = readJsonText(value);
  if (list === null || list === undefined || list === "") return undefined;
  if (!Array.isArray(list)) throw new Error(`"${field}" must be a list of tools, found ${describeValue(list)}`);
  if (list.length === 0) return undefined;
  return list.map((tool) => isObject(tool) && !("function" in tool) ? { type: "function", function: tool } : tool);
}

/** Calls as {name, arguments}, alone or in a list, bare or in OpenAI's `function`. Templates get arguments as objects. */
function readCalls(value: unknown, where: string): unknown[] {
  return [value].flat().map((call) => {
    const inner = isObject(call) && isObject(call.function) ? call.function : call;
    if (!isObject(inner) || typeof inner.name !== "string") {
      throw new Error(`${where} calls a tool without naming it as {"name": ..., "arguments": ...}`);
    }
    const id = isObject(call) && typeof call.id === "string" ? { id: call.id } : {};
    const given = inner.arguments ?? inner.parameters ?? {};
    return { ...id, type: "function", function: { name: inner.name, arguments: readJsonText(given) } };
  });
}

/** Content given as a list of parts; only text can be trained on. */
function joinParts(parts: unknown[], where: string): string {
  return parts.map((part) => {
    if (isObject(part) && part.type === "text" && typeof part.text === "string") return part.text;
    throw new Error(`${where} holds something other than text`);
  }).join("");
}

/** Tables with one type for all messages write a key that a message lacks as null. */
function withoutNulls(item: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(item).filter(([, value]) => value !== null));
}
