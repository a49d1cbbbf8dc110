/**
 * Where in a rendered conversation the answers stand, found by rendering it several times.
 *
 * A template is a program, so nothing marks its answers. For each assistant turn the conversation is rendered once more
 * with a stand-in for the answer: what both texts share before and after it surrounds the answer, whatever the template
 * does to earlier turns. The answer begins where the generation prompt of the turns before it ends, so that headers a
 * model must write itself (an empty `<think>` block) are learnt, where the template lets us see that; otherwise at the
 * answer's own text, with a warning. Offsets are in UTF-16 units of the text.
 */
import { UserError } from "../errors.ts";
import { type Message, renderChat } from "../text/chat_template.ts";

/** Characters [start, end) of the text. */
export interface ChatSpan {
  start: number;
  end: number;
}

/** Private-use characters: no template looks for them and no data should hold them. */
const standIn = "\uE0F1\uE0F2\uE0F3";

/** The text, one span per assistant turn in order, and what is odd about the template. Errors: as renderChat. */
export function chatSpans(messages: Message[], options: {
  template: string;
  bosToken?: string;
  eosToken?: string;
  /** Functions that the model may call. */
  tools?: unknown[];
  source: string;
}): { text: string; spans: ChatSpan[]; warnings: string[] } {
  const { template, ...rest } = options;
  const render = (turns: Message[], addGenerationPrompt = false) =>
    renderChat(template, { messages: turns, addGenerationPrompt, ...rest });
  const text = render(messages);
  const spans: ChatSpan[] = [];
  const warnings: string[] = [];
  for (let i = 0; i < messages.length; i++) {
    if (messages[i].role !== "assistant") continue;
    // Calls of tools are part of the answer, so they make way as well.
    const { tool_calls: _, ...turn } = messages[i];
    const other = render(messages.map((message, j) => j === i ? { ...turn, content: standIn } : message));
    const at = other.indexOf(standIn);
    if (at < 0) {
      throw new UserError(`${options.source}: the chat template leaves out message ${i + 1} (assistant)`, {
        hint: "Remove that turn, or give another chat template.",
      });
    }
    const end = text.length - commonSuffix(text, other.slice(at + standIn.length));
    let start = Math.min(end, commonPrefix(text, other.slice(0, at)));
    const prompt = promptOf(() => render(messages.slice(0, i), true));
    if (prompt !== null && text.startsWith(prompt) && prompt.length <= end) start = Math.min(start, prompt.length);
    else {
      warnings.push(
        "the chat template writes earlier turns differently later on; the loss begins at the answer's text",
      );
    }
    spans.push({ start, end });
  }
  return { text, spans, warnings };
}

/** A template may refuse what comes before an answer (nothing, or two answers in a row): then there is no prompt. */
function promptOf(render: () => string): string | null {
  try {
    return render();
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

function commonPrefix(a: string, b: string): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

function commonSuffix(a: string, b: string): number {
  let n = 0;
  while (n < a.length && n < b.length && a[a.length - 1 - n] === b[b.length - 1 - n]) n++;
  return n;
}
