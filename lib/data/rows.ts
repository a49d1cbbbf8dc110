/**
 * What a training row is, and the note that says what was done to one. Plain data; everything in lib/data speaks in it.
 */
import type { Message } from "../text/chat_template.ts";

/** Where a row stands, for a person: `rows.jsonl:12`, `rows.json:1, row 3`, `book.xlsx:Sheet1!5`, `rows.parquet:row 7 of group 1`. */
export type Place = string;

/** One instruction with its answer. */
export interface AlpacaRow {
  place: Place;
  instruction: string;
  input: string;
  output: string;
}

/** One conversation, and the functions that the model may call in it, in OpenAI's form. */
export interface ChatRow {
  place: Place;
  messages: Message[];
  tools?: unknown[];
}

/** One document, learnt whole. */
export interface TextRow {
  place: Place;
  text: string;
}

export type Row = AlpacaRow | ChatRow | TextRow;
export type RowFormat = "alpaca" | "chat" | "text";

/** What was found in a row and what was done about it: `place: what; action`. */
export interface CleaningNote {
  place: Place;
  what: string;
  action: string;
}

/** A row with a question and an answer. */
export type AnsweredRow = AlpacaRow | ChatRow;

export function isChat(row: Row): row is ChatRow {
  return "messages" in row;
}

export function isText(row: Row): row is TextRow {
  return "text" in row;
}

export function formatOf(row: Row): RowFormat {
  return isChat(row) ? "chat" : isText(row) ? "text" : "alpaca";
}

/** Everything a row says, part by part. */
export function textsOf(row: Row): string[] {
  if (isText(row)) return [row.text];
  if (!isChat(row)) return [row.instruction, row.input, row.output];
  return row.messages.flatMap(({ role, content, tool_calls }) => [
    role,
    content,
    ...(tool_calls ? [JSON.stringify(tool_calls)] : []),
  ]);
}
