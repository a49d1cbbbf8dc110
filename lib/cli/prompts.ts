/**
 * Questions to token ids and answers to text, in the form the model was trained to be asked: the Alpaca prompt, the
 * model's own chat template, or the plain text where it has none. Collects a model's tokens into readable text.
 */
import { alpacaPrompt } from "../data/prompt.ts";
import { type AnsweredRow, isChat } from "../data/rows.ts";
import { generate, type GenerateOptions, type Generator } from "../model/generate.ts";
import { type Message, renderChat } from "../text/chat_template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { PromptStyle } from "./rows.ts";

export interface Asked {
  tokenizer: Tokenizer;
  /** null: the chat template where the model has one, else the text itself. */
  style: PromptStyle | null;
}

/** A conversation that ends with the user, as ids ready for the answer. In Alpaca style a system message is the input. */
export function promptIds(messages: Message[], { tokenizer, style }: Asked): number[] {
  const last = messages[messages.length - 1].content, special = { addSpecial: true };
  if (style === "alpaca" || style === "alpaca-short") {
    const input = messages.find(({ role }) => role === "system")?.content ?? "";
    return tokenizer.encode(alpacaPrompt({ instruction: last, input }, style), special);
  }
  if (tokenizer.chatTemplate === null) return tokenizer.encode(last, special);
  const text = (id: number | null | undefined) => id === null || id === undefined ? "" : tokenizer.tokenText(id);
  const rendered = renderChat(tokenizer.chatTemplate, {
    messages,
    addGenerationPrompt: true,
    bosToken: text(tokenizer.bosId),
    eosToken: text(tokenizer.eosIds[0]),
    source: "the model's chat template",
  });
  return tokenizer.encode(rendered, special);
}

/** The question of a training row, as it would be asked: an instruction, or a conversation without its last answer. */
export function questionOf(row: AnsweredRow): { shown: string; messages: Message[] } {
  if (!isChat(row)) {
    const system = row.input === "" ? [] : [{ role: "system", content: row.input }];
    const shown = row.input === "" ? row.instruction : `${row.instruction}\n${row.input}`;
    return { shown, messages: [...system, { role: "user", content: row.instruction }] };
  }
  const lastAnswer = row.messages.findLastIndex(({ role }) => role === "assistant");
  const messages = row.messages.slice(0, lastAnswer);
  return { shown: messages[messages.length - 1]?.content ?? "", messages };
}

/** Whole answers to several prompts, in their order. */
export async function answers(
  generator: Generator,
  prompts: number[][],
  options: GenerateOptions & { tokenizer: Tokenizer },
): Promise<string[]> {
  const ids: number[][] = prompts.map(() => []);
  for await (const { row, token, finish } of generate(generator, prompts, withStops(options))) {
    if (finish !== "stop") ids[row].push(token);
  }
  return ids.map((answer) => options.tokenizer.decode(answer, { skipSpecial: true }).trim());
}

/** Pieces of one answer as they come; a piece ends where a character does. */
export async function* answerPieces(
  generator: Generator,
  prompt: number[],
  options: GenerateOptions & { tokenizer: Tokenizer },
): AsyncGenerator<string> {
  const ids: number[] = [];
  let shown = "";
  for await (const { token, finish } of generate(generator, [prompt], withStops(options))) {
    if (finish === "stop") break;
    ids.push(token);
    const text = options.tokenizer.decode(ids, { skipSpecial: true });
    // A character whose bytes are not all there yet ends in U+FFFD; it is shown with the next token.
    if (text.endsWith("\ufffd") && finish === undefined) continue;
    yield text.slice(shown.length);
    shown = text;
  }
}

/** The tokenizer knows ends of turns that the model's configuration may leave out. */
function withStops<T extends GenerateOptions & { tokenizer: Tokenizer }>(options: T): T {
  return { stopIds: options.tokenizer.eosIds, ...options };
}
