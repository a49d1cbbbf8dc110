/**
 * Rows to tokens with the mark of which tokens count in the loss.
 *
 * Alpaca rows go through the Alpaca prompt and end with EOS; conversations go through the model's chat template, which
 * writes its own end-of-turn tokens. Every row is one Example; batches are made elsewhere. Nothing is padded here.
 */
import { UserError } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { alpacaPrompt, type AlpacaStyle } from "./prompt.ts";
import { type ChatSpan, chatSpans } from "./chat_spans.ts";
import { type AlpacaRow, type ChatRow, type CleaningNote, isChat, type Row } from "./rows.ts";

/** One row as tokens, n of them. */
export interface Example {
  /** [n] token ids, BOS and EOS included. */
  tokens: Int32Array;
  /** [n] 1 where the token counts in the loss as a target; targets[0] is always 0, since nothing predicts it. */
  targets: Uint8Array;
  /** Line of the row in its file. */
  line: number;
  /** Tokens before the first answer. */
  promptTokens: number;
  /** Tokens that count in the loss. */
  targetTokens: number;
}

export interface RenderOptions {
  tokenizer: Tokenizer;
  style?: AlpacaStyle;
  /** Only answers count in the loss, each with the token that ends it; otherwise every token does. */
  responseOnly?: boolean;
  /** Most tokens a row may have. */
  maxLength: number;
  /** What happens to a longer row. A cut row has lost its EOS and teaches endless answers, so the default is "drop". */
  tooLong?: "drop" | "truncate";
  /** Instead of the tokenizer's own chat template. */
  chatTemplate?: string;
  /** Name of the file the rows came from. */
  source?: string;
}

/**
 * One row as an Example, or the note that says why it cannot be one (`"tokens" in result` tells them apart).
 * Errors: UserError when the tokenizer lacks EOS or a chat template, or the template refuses the row.
 */
export function renderRow(row: Row, options: RenderOptions): Example | CleaningNote {
  return renderWithNotes(row, options).result;
}

/**
 * All rows. Notes name the rows dropped or cut, and oddities of the chat template once.
 * Errors: as renderRow; UserError when no row is left.
 */
export function renderRows(rows: Row[], options: RenderOptions): { examples: Example[]; notes: CleaningNote[] } {
  const examples: Example[] = [];
  const notes: CleaningNote[] = [];
  const said = new Set<string>();
  for (const row of rows) {
    const { result, warnings } = renderWithNotes(row, options);
    if ("tokens" in result) examples.push(result);
    else notes.push(result);
    for (const warning of warnings) {
      if (!said.has(warning.what)) notes.push(warning);
      said.add(warning.what);
    }
  }
  if (examples.length === 0) {
    const first = notes[0];
    throw new UserError(
      `${options.source ?? "data"}: none of the ${rows.length} rows can be trained on` +
        (first ? `; the first, line ${first.line}: ${first.what}` : ""),
      { hint: "Raise max_length, or shorten the rows." },
    );
  }
  return { examples, notes };
}

interface Rendered {
  ids: number[];
  /** Token ranges [start, end) of the answers, in order. */
  answers: [number, number][];
  warnings: string[];
}

function renderWithNotes(
  row: Row,
  options: RenderOptions,
): { result: Example | CleaningNote; warnings: CleaningNote[] } {
  const note = (what: string, action: string): CleaningNote => ({
    source: options.source ?? "data",
    line: row.line,
    what,
    action,
  });
  const { ids, answers, warnings } = isChat(row) ? renderConversation(row, options) : renderAlpaca(row, options);
  const notes = warnings.map((what) => note(what, "kept"));
  let length = ids.length;
  if (length > options.maxLength) {
    const what = `${length} tokens, max_length is ${options.maxLength}`;
    if (options.tooLong !== "truncate") return { result: note(what, "dropped"), warnings: notes };
    length = options.maxLength;
    notes.push(note(what, "cut"));
  }
  const targets = new Uint8Array(length);
  if (options.responseOnly) { for (const [start, end] of answers) targets.fill(1, start, Math.min(end, length)); }
  else targets.fill(1);
  targets[0] = 0;
  const targetTokens = targets.reduce((sum, target) => sum + target, 0);
  if (targetTokens === 0) return { result: note("no token that counts in the loss", "dropped"), warnings: notes };
  const tokens = Int32Array.from(ids.slice(0, length));
  const promptTokens = Math.min(length, answers[0]?.[0] ?? length);
  return { result: { tokens, targets, line: row.line, promptTokens, targetTokens }, warnings: notes };
}

function renderAlpaca(row: AlpacaRow, options: RenderOptions): Rendered {
  const { tokenizer, style } = options;
  const eos = tokenizer.eosIds[0];
  if (eos === undefined) {
    throw new UserError("the tokenizer names no end-of-text token (eos_token)", {
      hint: "Without one a model never learns to stop; add eos_token to tokenizer_config.json.",
    });
  }
  const prompt = alpacaPrompt({ ...row, output: "" }, style);
  const text = prompt + row.output;
  const ids = tokenizer.encode(text, { addSpecial: true });
  if (ids[ids.length - 1] !== eos) ids.push(eos);
  const start = tokenIndexAt(prompt.length, { text, ids, tokenizer });
  return { ids, answers: [[start, ids.length]], warnings: [] };
}

function renderConversation(row: ChatRow, options: RenderOptions): Rendered {
  const { tokenizer } = options;
  const source = `${options.source ?? "data"}:${row.line}`;
  const template = options.chatTemplate ?? tokenizer.chatTemplate;
  if (template === null) {
    throw new UserError(`${source}: the model has no chat template, but the rows are conversations`, {
      hint: "Use an instruct model, give a chat template, or rows in Alpaca form.",
    });
  }
  const { text, spans, warnings } = chatSpans(row.messages, {
    template,
    bosToken: tokenizer.bosId === null ? "" : tokenizer.tokenText(tokenizer.bosId),
    eosToken: tokenizer.eosIds.length === 0 ? "" : tokenizer.tokenText(tokenizer.eosIds[0]),
    source,
  });
  const ids = tokenizer.encode(text, { addSpecial: true });
  const answers = spans.map((span) => answerTokens(span, { text, ids, tokenizer }));
  if (!answers.every(([, end]) => tokenizer.eosIds.includes(ids[end - 1]))) {
    warnings.push("the chat template ends an answer without an end-of-turn token, so stopping is not learnt");
  }
  return { ids, answers, warnings };
}

/** Tokens of an answer, with the end-of-turn token that follows it, if only whitespace stands between. */
function answerTokens(span: ChatSpan, options: Whole): [number, number] {
  const { ids, tokenizer } = options;
  const start = tokenIndexAt(span.start, options);
  let end = Math.max(start, tokenIndexAt(span.end, options));
  if (tokenizer.eosIds.includes(ids[end - 1])) return [start, end];
  for (let i = end; i < ids.length; i++) {
    if (tokenizer.eosIds.includes(ids[i])) {
      end = i + 1;
      break;
    }
    if (tokenizer.decode([ids[i]]).trim() !== "") break;
  }
  return [start, end];
}

interface Whole {
  text: string;
  /** Ids of `text`, perhaps with BOS before and EOS after it. */
  ids: number[];
  tokenizer: Tokenizer;
}

/**
 * Index of the first token that holds a character at or after offset `at` of the text. Usually the tokens of the text
 * before `at` are the beginning of all tokens; where merging crosses the offset, decoding finds the token across it.
 */
function tokenIndexAt(at: number, { text, ids, tokenizer }: Whole): number {
  const before = tokenizer.encode(text.slice(0, at), { addSpecial: true });
  let same = 0;
  while (same < before.length && before[same] === ids[same]) same++;
  if (same === before.length) return same;
  const bos = tokenizer.addBos && tokenizer.encode(text)[0] !== ids[0] ? 1 : 0;
  while (same < ids.length && tokenizer.decode(ids.slice(bos, same + 1)).length <= at) same++;
  return same;
}
