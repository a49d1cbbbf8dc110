/**
 * One JSON value to one row, by its keys. Known are Alpaca (`instruction`, `input`, `output`), the same under the names
 * `prompt`/`completion` and `question`/`answer`, `messages` with role and content, and ShareGPT's `conversations` with
 * from and value. A missing answer is an empty one, which clean.ts drops; a field of the wrong type is an error.
 */
import type { Message } from "../text/chat_template.ts";
import type { AlpacaRow, ChatRow, Row } from "./rows.ts";

const promptKeys = ["instruction", "prompt", "question"];
const answerKeys = ["output", "response", "completion", "answer"];
const contextKeys = ["input", "context"];
const conversationKeys = ["messages", "conversations"];

const roles: Record<string, string> = { human: "user", gpt: "assistant", bot: "assistant", model: "assistant" };

/** Errors: Error with one line saying what is wrong with the value; where it stood is the caller's to say. */
export function readRow(value: unknown, options: { line: number; asChat?: boolean }): Row {
  const { line } = options;
  if (!isObject(value)) throw new Error(`expected a JSON object, found ${describe(value)}`);
  const conversation = conversationKeys.find((key) => key in value);
  if (conversation) return { line, messages: readMessages(value[conversation], conversation) };
  const promptKey = promptKeys.find((key) => key in value);
  if (!promptKey) {
    const known = [...promptKeys, ...conversationKeys].join(", ");
    throw new Error(
      `no key of a known form; the row has ${Object.keys(value).join(", ") || "no keys"}, one of ${known} is needed`,
    );
  }
  const answerKey = answerKeys.find((key) => key in value);
  const prompt = value[promptKey], answer = answerKey === undefined ? undefined : value[answerKey];
  if (Array.isArray(prompt) && Array.isArray(answer)) {
    return { line, messages: [...readMessages(prompt, promptKey), ...readMessages(answer, answerKey!)] };
  }
  const contextKey = contextKeys.find((key) => key in value);
  const row: AlpacaRow = {
    line,
    instruction: readText(prompt, promptKey),
    input: contextKey === undefined ? "" : readText(value[contextKey], contextKey),
    output: answerKey === undefined ? "" : readText(answer, answerKey),
  };
  return options.asChat ? conversationOf(row) : row;
}

/** An Alpaca row as a conversation of two turns; the input follows the instruction after an empty line. */
function conversationOf({ line, instruction, input, output }: AlpacaRow): ChatRow {
  const content = input === "" ? instruction : `${instruction}\n\n${input}`;
  return { line, messages: [{ role: "user", content }, { role: "assistant", content: output }] };
}

function readMessages(value: unknown, key: string): Message[] {
  if (!Array.isArray(value)) throw new Error(`"${key}" must be a list of messages, found ${describe(value)}`);
  return value.map((item, i) => {
    const where = `"${key}" message ${i + 1}`;
    if (!isObject(item)) throw new Error(`${where} must be an object, found ${describe(item)}`);
    const { role, from, content, value, ...rest } = item;
    const name = role ?? from;
    if (typeof name !== "string") throw new Error(`${where} has no role`);
    const text = Array.isArray(content) ? joinParts(content, where) : readText(content ?? value, `${where} content`);
    return { ...rest, role: Object.hasOwn(roles, name) ? roles[name] : name, content: text };
  });
}

/** Content given as a list of parts; only text can be trained on. */
function joinParts(parts: unknown[], where: string): string {
  return parts.map((part) => {
    if (isObject(part) && part.type === "text" && typeof part.text === "string") return part.text;
    throw new Error(`${where} holds something other than text`);
  }).join("");
}

function readText(value: unknown, key: string): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") {
    throw new Error(`${key.startsWith('"') ? key : `"${key}"`} must be text, found ${describe(value)}`);
  }
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return `${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}
