/**
 * What a training row is, and the note that says what was done to one. Plain data; everything in lib/data speaks in it.
 */
import type { Message } from "../text/chat_template.ts";

/** One instruction with its answer. `line` counts from 1 in the file it came from. */
export interface AlpacaRow {
  line: number;
  instruction: string;
  input: string;
  output: string;
}

/** One conversation. */
export interface ChatRow {
  line: number;
  messages: Message[];
}

export type Row = AlpacaRow | ChatRow;
export type RowFormat = "alpaca" | "chat";

/** What was found in a row and what was done about it: `source:line: what, action`. */
export interface CleaningNote {
  source: string;
  line: number;
  what: string;
  action: string;
}

export function isChat(row: Row): row is ChatRow {
  return "messages" in row;
}
