/**
 * Takes noise out of training rows and says what it did: no answer, no question, duplicates, broken text, turns out of
 * order.
 *
 * Works on rows as read, before any tokenizer, one after the other; rows that are too long are render.ts's, which counts
 * tokens. Rows are not changed in place, their order stays, and every change has a note.
 */
import { createHash } from "node:crypto";
import {
  type AlpacaRow,
  type ChatRow,
  type CleaningNote,
  isChat,
  isText,
  type Place,
  type Row,
  textsOf,
} from "./rows.ts";
import { type Repair, repairText } from "./text_repair.ts";
import { orderTurns } from "./turn_order.ts";

/**
 * A function that gives back a row that is worth training on, mended where it needed it, or undefined for others. It
 * remembers the rows it has seen by a hash. `notes` takes a note per change.
 */
export function makeCleaner(notes: CleaningNote[]): (row: Row) => Row | undefined {
  const firstPlaces = new Map<string, Place>();
  return (row) => {
    const { place } = row;
    const repair: Repair = { text: "", done: [] };
    const mend = (text: string): string => {
      const { text: mended, done, lost } = repairText(text);
      for (const step of done) if (!repair.done.some((other) => other.what === step.what)) repair.done.push(step);
      repair.lost ??= lost;
      return mended;
    };
    const { mended, fault, done } = isChat(row)
      ? mendConversation(row, mend)
      : isText(row)
      ? { mended: { ...row, text: mend(row.text) }, fault: undefined, done: [] }
      : mendAlpaca(row, mend);
    const drop = (what: string) => {
      notes.push({ place, what, action: "dropped" });
      return undefined;
    };
    if (repair.lost ?? fault) return drop((repair.lost ?? fault)!);
    const key = keyOf(mended);
    const first = firstPlaces.get(key);
    if (first !== undefined) return drop(`the same as ${first}`);
    firstPlaces.set(key, place);
    for (const { what, action } of [...repair.done, ...done]) notes.push({ place, what, action });
    return mended;
  };
}

interface Mended {
  mended: Row;
  fault: string | undefined;
  done: Repair["done"];
}

function mendAlpaca(row: AlpacaRow, mend: (text: string) => string): Mended {
  const mended = { ...row, instruction: mend(row.instruction), input: mend(row.input), output: mend(row.output) };
  const noQuestion = isBlank(mended.instruction) && isBlank(mended.input);
  return { mended, fault: isBlank(mended.output) ? "no answer" : noQuestion ? "no question" : undefined, done: [] };
}

function mendConversation(row: ChatRow, mend: (text: string) => string): Mended {
  const texts = row.messages.map((message) => ({ ...message, content: mend(message.content) }));
  const { messages, done, fault } = orderTurns(texts);
  return { mended: { ...row, messages }, fault: conversationFault(messages) ?? fault, done };
}

function conversationFault(messages: ChatRow["messages"]): string | undefined {
  const answers = messages.filter((message) => message.role === "assistant");
  if (answers.length === 0) return "no answer: no assistant message";
  const empty = messages.findIndex(({ role, content, tool_calls }) =>
    role === "assistant" && isBlank(content) && !tool_calls
  );
  if (empty >= 0) return `no answer: assistant message ${empty + 1} is empty`;
  if (messages[0].role === "assistant" && messages.length === 1) return "no question";
}

/** Rows that differ in nothing but whitespace have the same key: 128 bits of a hash. */
function keyOf(row: Row): string {
  // Most texts have nothing but single spaces, and looking is cheaper than replacing each by itself.
  const parts = textsOf(row).map((part) => (/\s\s|[^\S ]/.test(part) ? part.replace(/\s+/g, " ") : part).trim());
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64").slice(0, 22);
}

/** Empty, or nothing but whitespace and characters that print nothing. */
function isBlank(text: string): boolean {
  return /^[\s\p{Cf}]*$/u.test(text);
}
