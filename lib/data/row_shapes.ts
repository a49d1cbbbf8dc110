/**
 * One JSON object, or row of a table, to one training row: Alpaca and other questions with answers, prompts with
 * completions (texts or messages), ShareGPT conversations, chat messages, raw text. A missing answer is an empty one,
 * which clean.ts drops; a field of the wrong type is an error.
 */
import { type Columns, ColumnsError, rolesOf } from "./column_names.ts";
import { readMessages, readTools } from "./conversations.ts";
import { describeValue, isObject, readText } from "./fields.ts";
import type { AlpacaRow, ChatRow, Place, Row } from "./rows.ts";

export interface Shape {
  columns: Columns;
  /** Columns that are left alone. */
  unused: string[];
}

/** What columns of these names hold. Errors: ColumnsError. */
export function shapeOf(found: string[], mapping: Columns | null): Shape {
  const columns = rolesOf(found, mapping);
  const { instruction, messages, text } = columns;
  if (instruction === undefined && messages === undefined && text === undefined) {
    throw new ColumnsError(found, "nothing says which column is the instruction, the text or the messages");
  }
  const used = new Set(Object.values(columns));
  return { columns, unused: found.filter((name) => !used.has(name)) };
}

/** Errors: Error with one line saying what is wrong with the value; where it stood is the caller's to say. */
export function rowOf(
  value: Record<string, unknown>,
  { columns }: Shape,
  options: { place: Place; asChat?: boolean },
): Row {
  const { place } = options;
  const { messages, text, instruction, input, output } = columns;
  const tools = columns.tools === undefined ? undefined : readTools(value[columns.tools], columns.tools);
  const system = columns.system === undefined ? "" : readText(value[columns.system], columns.system);
  const chat = (turns: ChatRow["messages"]): ChatRow => ({
    place,
    messages: system === "" || turns[0]?.role === "system" ? turns : [{ role: "system", content: system }, ...turns],
    ...(tools ? { tools } : {}),
  });
  if (messages !== undefined) return chat(readMessages(value[messages], messages));
  if (instruction === undefined) return { place, text: readText(value[text!], text!) };
  const question = value[instruction], answer = output === undefined ? undefined : value[output];
  if (isMessages(question) && isMessages(answer)) {
    return chat([...readMessages(question, instruction), ...readMessages(answer, output!)]);
  }
  const row: AlpacaRow = {
    place,
    instruction: readText(question, instruction),
    input: input === undefined ? "" : readText(value[input], input),
    output: output === undefined ? "" : readText(answer, output),
  };
  return options.asChat ? chat(turnsOf(row)) : row;
}

/** For a person: "ShareGPT conversations (conversations); not used: id". */
export function describeShape({ columns, unused }: Shape, row: Row, value: Record<string, unknown>): string {
  const { messages, instruction, output, text } = columns;
  const first = messages === undefined ? undefined : [value[messages]].flat()[0];
  const name = messages !== undefined
    ? isObject(first) && "from" in first ? "ShareGPT conversations" : "chat messages"
    : text !== undefined && instruction === undefined
    ? "raw text"
    : instruction === "instruction" && (output === "output" || output === undefined)
    ? "Alpaca rows"
    : instruction === "prompt" && output === "completion"
    ? "prompts with completions"
    : "questions with answers";
  const used = Object.values(columns).filter((column) => column !== undefined);
  const system = columns.system !== undefined && !("messages" in row) ? [columns.system] : [];
  const left = [...unused, ...system].filter((column) => column !== "");
  return `${name} (${used.filter((column) => !system.includes(column)).join(", ")})` +
    (left.length > 0 ? `; not used: ${left.slice(0, 8).join(", ")}${left.length > 8 ? ", ..." : ""}` : "");
}

/** An Alpaca row as two turns; the input follows the instruction after an empty line. */
export function turnsOf({ instruction, input, output }: AlpacaRow): ChatRow["messages"] {
  const content = input === "" ? instruction : `${instruction}\n\n${input}`;
  return [{ role: "user", content }, { role: "assistant", content: output }];
}

/** Whether a field holds messages, written out or as JSON text, as tables have to. */
function isMessages(value: unknown): boolean {
  return Array.isArray(value) && value.every(isObject);
}

/** Errors: Error when the value is no object. */
export function asObject(value: unknown): Record<string, unknown> {
  if (!isObject(value)) throw new Error(`expected a JSON object, found ${describeValue(value)}`);
  return value;
}
