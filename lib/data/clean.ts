/**
 * Takes noise out of training rows and says what it did: no answer, no question, duplicates, broken text.
 *
 * Works on rows as read, before any tokenizer; rows that are too long are render.ts's, which counts tokens. Rows are not
 * changed in place, their order stays, and every change has a note.
 */
import { UserError } from "../errors.ts";
import { type AlpacaRow, type ChatRow, type CleaningNote, isChat, type Row } from "./rows.ts";
import { type Repair, repairText } from "./text_repair.ts";

/** The rows worth training on and one note per change. Errors: UserError when no row is left. */
export function cleanRows(rows: Row[], options: { source: string }): { rows: Row[]; notes: CleaningNote[] } {
  const { source } = options;
  const notes: CleaningNote[] = [];
  const kept: Row[] = [];
  const firstLines = new Map<string, number>();
  for (const row of rows) {
    const note = (what: string, action: string) => notes.push({ source, line: row.line, what, action });
    const repair: Repair = { text: "", done: [] };
    const mend = (text: string): string => {
      const { text: mended, done, lost } = repairText(text);
      for (const step of done) if (!repair.done.some((other) => other.what === step.what)) repair.done.push(step);
      repair.lost ??= lost;
      return mended;
    };
    const mended = isChat(row) ? mendConversation(row, mend) : mendAlpaca(row, mend);
    const fault = repair.lost ?? (isChat(mended) ? conversationFault(mended) : alpacaFault(mended));
    if (fault !== undefined) {
      note(fault, "dropped");
      continue;
    }
    const key = keyOf(mended);
    const first = firstLines.get(key);
    if (first !== undefined) {
      note(`the same as line ${first}`, "dropped");
      continue;
    }
    firstLines.set(key, row.line);
    for (const { what, action } of repair.done) note(what, action);
    kept.push(mended);
  }
  if (kept.length === 0) {
    const reason = notes.length === 0 ? "" : `; the first, line ${notes[0].line}: ${notes[0].what}`;
    throw new UserError(`${source}: none of the ${rows.length} rows can be trained on${reason}`, {
      hint: "Each row needs a question and an answer.",
    });
  }
  return { rows: kept, notes };
}

function mendAlpaca(row: AlpacaRow, mend: (text: string) => string): AlpacaRow {
  return { ...row, instruction: mend(row.instruction), input: mend(row.input), output: mend(row.output) };
}

function mendConversation(row: ChatRow, mend: (text: string) => string): ChatRow {
  return { ...row, messages: row.messages.map((message) => ({ ...message, content: mend(message.content) })) };
}

function alpacaFault(row: AlpacaRow): string | undefined {
  if (isBlank(row.output)) return "no answer";
  if (isBlank(row.instruction) && isBlank(row.input)) return "no question";
}

function conversationFault({ messages }: ChatRow): string | undefined {
  const answers = messages.filter((message) => message.role === "assistant");
  if (answers.length === 0) return "no answer: no assistant message";
  const empty = messages.findIndex((message) => message.role === "assistant" && isBlank(message.content));
  if (empty >= 0) return `no answer: assistant message ${empty + 1} is empty`;
  if (messages[0].role === "assistant" && messages.length === 1) return "no question";
}

/** Rows that differ in nothing but whitespace have the same key. */
function keyOf(row: Row): string {
  const parts = isChat(row)
    ? row.messages.flatMap((message) => [message.role, message.content])
    : [row.instruction, row.input, row.output];
  return JSON.stringify(parts.map((part) => part.replace(/\s+/g, " ").trim()));
}

/** Empty, or nothing but whitespace and characters that print nothing. */
function isBlank(text: string): boolean {
  return /^[\s\p{Cf}]*$/u.test(text);
}
