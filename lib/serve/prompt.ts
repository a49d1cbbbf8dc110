/** A conversation as the model's token ids, through its chat template or the form that its adapter was trained with. */
import { type Message, renderChat } from "../text/chat_template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { contextError } from "./api_error.ts";
import type { RequestMessage, RequestTool } from "./schema.ts";
import type { PromptForm } from "./service.ts";
import { toolFormatOf, writeToolsAsText } from "./tool_formats.ts";

export interface Conversation {
  messages: Message[];
  tools: RequestTool[];
}

/** OpenAI's messages as templates take them. Instructions at the beginning become one system message. */
export function templateMessages(messages: RequestMessage[]): Message[] {
  const written: Message[] = messages.map(({ role, content, name, tool_calls, tool_call_id }) => ({
    role: role === "developer" ? "system" : role === "function" ? "tool" : role,
    content: content ?? "",
    ...(name ? { name } : {}),
    ...(tool_call_id ? { tool_call_id } : {}),
    ...(tool_calls && tool_calls.length > 0
      ? {
        tool_calls: tool_calls.map(({ id, function: { name, arguments: given } }) => ({
          id: id ?? "",
          type: "function",
          function: { name, arguments: argumentsOf(given) },
        })),
      }
      : {}),
  }));
  const count = written.findIndex(({ role }) => role !== "system");
  const leading = count < 0 ? written.length : count;
  if (leading < 2) return written;
  const content = written.slice(0, leading).map((message) => message.content).join("\n\n");
  return [{ role: "system", content }, ...written.slice(leading)];
}

/** Templates write arguments as JSON themselves, so they get the object. */
function argumentsOf(given: unknown): unknown {
  if (typeof given !== "string") return given ?? {};
  try {
    return given.trim() === "" ? {} : JSON.parse(given);
  } catch {
    return given;
  }
}

/** The prompt's text. Errors: UserError when the template refuses the conversation. */
export function promptText({ messages, tools }: Conversation, form: PromptForm, tokenizer: Tokenizer): string {
  const { template, write } = form;
  const { native } = toolFormatOf(write ? null : template);
  const spoken = native ? messages : writeToolsAsText(messages, tools);
  if (write) return write(spoken);
  if (template === null) return spoken[spoken.length - 1].content;
  const textOf = (id: number | null | undefined) => id === null || id === undefined ? "" : tokenizer.tokenText(id);
  return renderChat(template, {
    messages: spoken,
    addGenerationPrompt: true,
    bosToken: textOf(tokenizer.bosId),
    eosToken: textOf(tokenizer.eosIds[0]),
    ...(native && tools.length > 0 ? { tools } : {}),
    source: "messages",
  });
}

/** Characters in one go while a long text is only counted. */
const slice = 1 << 15;

/**
 * Ids of a text, shorter than the context. A text that is far too long is not read to its end: it is counted in pieces,
 * between which other requests go on, until it is certain.
 */
export async function promptTokens(
  text: string,
  { tokenizer, contextLength, param }: { tokenizer: Tokenizer; contextLength: number; param: string },
): Promise<Int32Array> {
  if (text.length > 4096 + contextLength * 8) {
    let count = 0, read = 0;
    for (let at = 0; at < text.length; at += slice) {
      const piece = text.slice(at, at + slice);
      // A cut can cost some tokens more than the whole text has.
      count += Math.max(0, tokenizer.encode(piece).length - 4);
      read += piece.length;
      if (count < contextLength) {
        await new Promise((resolve) => setTimeout(resolve));
        continue;
      }
      const tokens = Math.round(count * text.length / read);
      throw contextError({ tokens, contextLength, param, about: read < text.length });
    }
  }
  const ids = Int32Array.from(tokenizer.encode(text, { addSpecial: true }));
  if (ids.length >= contextLength) throw contextError({ tokens: ids.length, contextLength, param });
  return ids;
}
