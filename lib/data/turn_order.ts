/**
 * Whether the turns of a conversation come in an order that can be learnt, and what is done where they do not: two turns
 * of one speaker become one, an answer before the first question and a question after the last answer are left out.
 * What remains out of order is a fault, since guessing would teach a conversation that nobody had.
 */
import type { Message } from "../text/chat_template.ts";

export interface Ordered {
  messages: Message[];
  /** What was changed, one phrase each. */
  done: { what: string; action: string }[];
  /** Why the conversation cannot be used. */
  fault?: string;
}

const known = new Set(["system", "user", "assistant", "tool"]);

export function orderTurns(given: Message[]): Ordered {
  const done: Ordered["done"] = [];
  const messages: Message[] = [];
  for (const message of given) {
    const last = messages.at(-1);
    if (last && joins(last, message)) {
      messages[messages.length - 1] = { ...last, content: `${last.content}\n\n${message.content}` };
      done.push({ what: `two ${message.role} messages in a row`, action: "joined" });
    } else {
      messages.push(message);
    }
  }
  const strange = messages.find(({ role }) => !known.has(role));
  if (strange) return { messages, done, fault: `unknown role ${JSON.stringify(strange.role.slice(0, 40))}` };
  const first = messages.findIndex(({ role }) => role !== "system");
  const question = messages.findIndex(({ role }) => role === "user");
  if (question > first && first >= 0 && messages[first].role === "assistant") {
    messages.splice(first, question - first);
    done.push({ what: "an answer before the first question", action: "left out" });
  }
  const answer = messages.findLastIndex(({ role }) => role === "assistant");
  if (answer >= 0 && answer < messages.length - 1) {
    const { role } = messages[answer + 1];
    messages.splice(answer + 1);
    done.push({ what: `a ${role} message after the last answer`, action: "left out" });
  }
  return { messages, done, fault: faultOf(messages) };
}

function faultOf(messages: Message[]): string | undefined {
  for (let i = 1; i < messages.length; i++) {
    const role = messages[i].role, before = messages[i - 1].role;
    if (role === "system" && before !== "system") return `message ${i + 1} is a system message amid the conversation`;
    if (role === "tool" && before !== "assistant" && before !== "tool") {
      return `message ${i + 1} is a tool's result that follows no call`;
    }
  }
  if (messages[0]?.role === "tool") return "message 1 is a tool's result that follows no call";
}

/** Messages of tools are one per call, and a call stands for itself. */
function joins(before: Message, message: Message): boolean {
  return before.role === message.role && message.role !== "tool" && !before.tool_calls && !message.tool_calls;
}
