/**
 * Rows to tokens with the mark of which tokens count in the loss.
 *
 * Alpaca rows go through the Alpaca prompt and end with EOS; conversations go through the model's chat template, which
 * writes its own end-of-turn tokens; documents are their text and EOS, every token counts, and packing is examples.ts's.
 * Batches are made elsewhere. Nothing is padded here.
 */
import { UserError } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { alpacaPrompt, type AlpacaStyle } from "./prompt.ts";
import { type ChatSpan, chatSpans } from "./chat_spans.ts";
import type { Example } from "./examples.ts";
import { type AlpacaRow, type ChatRow, type CleaningNote, isChat, isText, type Row, type TextRow } from "./rows.ts";

export interface RenderOptions {
  tokenizer: Tokenizer;
  style?: AlpacaStyle;
  /** Only answers count in the loss, each with the token that ends it; otherwise every token does. */
  responseOnly?: boolean;
  /** Most tokens a row may have; documents may have any number. */
  maxLength: number;
  /** What happens to a longer row. A cut row has lost its EOS and teaches endless answers, so the default is "drop". */
  tooLong?: "drop" | "truncate";
  /** Instead of the tokenizer's own chat template. */
  chatTemplate?: string;
}

export interface Rendering {
  /** Undefined where the row cannot be used; the notes say why. */
  example?: Example;
  /** Tokens of the whole row. */
  length: number;
  /** Tokens before the first answer. */
  promptTokens: number;
  /** What was done to the row, and what is odd about the chat template. */
  notes: CleaningNote[];
}

/** Errors: UserError when the tokenizer lacks EOS or a chat template, or the template refuses the row. */
export function renderRow(row: Row, options: RenderOptions): Rendering {
  const note = (what: string, action: string): CleaningNote => ({ place: row.place, what, action });
  const { ids, answers, warnings, fault } = isText(row)
    ? renderText(row, options)
    : isChat(row)
    ? renderConversation(row, options)
    : renderAlpaca(row, options);
  const notes = warnings.map((what) => note(what, "kept"));
  const rendering = { length: ids.length, promptTokens: Math.min(ids.length, answers[0]?.[0] ?? ids.length), notes };
  if (fault !== undefined) return { ...rendering, notes: [...notes, note(fault, "dropped")] };
  let length = ids.length;
  if (length > options.maxLength && !isText(row)) {
    const what = `${length} tokens, max_length is ${options.maxLength}`;
    if (options.tooLong !== "truncate") return { ...rendering, notes: [...notes, note(what, "dropped")] };
    length = options.maxLength;
    notes.push(note(what, "cut"));
  }
  const targets = new Uint8Array(length);
  if (options.responseOnly) { for (const [start, end] of answers) targets.fill(1, start, Math.min(end, length)); }
  else targets.fill(1);
  targets[0] = 0;
  if (!targets.includes(1)) {
    return { ...rendering, notes: [...notes, note("no token that counts in the loss", "dropped")] };
  }
  return { ...rendering, example: { tokens: new Int32Array(ids.slice(0, length)), targets } };
}

interface Ids {
  ids: number[];
  /** Token ranges [start, end) of the answers, in order. */
  answers: [number, number][];
  warnings: string[];
  /** Why the row cannot be learnt in this form. */
  fault?: string;
}

/** Characters of a document that are encoded at a time; a cut at a line's end changes no word. */
const textPiece = 1 << 16;

function renderText({ text }: TextRow, { tokenizer }: RenderOptions): Ids {
  const eos = eosOf(tokenizer);
  const ids: number[] = [];
  for (let start = 0; start < text.length;) {
    const cut = text.length - start > textPiece ? text.lastIndexOf("\n", start + textPiece) + 1 : text.length;
    const end = cut > start ? cut : start + textPiece;
    for (const id of tokenizer.encode(text.slice(start, end), { addSpecial: start === 0 })) ids.push(id);
    start = end;
  }
  ids.push(eos);
  return { ids, answers: [[0, ids.length]], warnings: [] };
}

function renderAlpaca(row: AlpacaRow, options: RenderOptions): Ids {
  const { tokenizer, style } = options;
  const eos = eosOf(tokenizer);
  const prompt = alpacaPrompt({ ...row, output: "" }, style);
  const text = prompt + row.output;
  const ids = tokenizer.encode(text, { addSpecial: true });
  if (ids[ids.length - 1] !== eos) ids.push(eos);
  const { index } = tokenIndexAt(prompt.length, { text, ids, tokenizer });
  return { ids, answers: [[index, ids.length]], warnings: [] };
}

function eosOf(tokenizer: Tokenizer): number {
  if (tokenizer.eosIds.length > 0) return tokenizer.eosIds[0];
  throw new UserError("the tokenizer names no end-of-text token (eos_token)", {
    hint: "Without one a model never learns to stop; add eos_token to tokenizer_config.json.",
  });
}

function renderConversation(row: ChatRow, options: RenderOptions): Ids {
  const { tokenizer } = options;
  const template = options.chatTemplate ?? tokenizer.chatTemplate;
  if (template === null) {
    throw new UserError(`${row.place}: the model has no chat template, but the rows are conversations`, {
      hint: "Use an instruct model, give a chat template, or rows in Alpaca form.",
    });
  }
  const { text, spans, warnings } = chatSpans(row.messages, {
    template,
    bosToken: tokenizer.bosId === null ? "" : tokenizer.tokenText(tokenizer.bosId),
    eosToken: tokenizer.eosIds.length === 0 ? "" : tokenizer.tokenText(tokenizer.eosIds[0]),
    tools: row.tools,
    source: row.place,
  });
  const ids = tokenizer.encode(text, { addSpecial: true });
  let from = textStart;
  const answers = spans.map((span) => {
    const { tokens, boundary } = answerTokens(span, { text, ids, tokenizer }, from);
    from = boundary ?? from;
    return tokens;
  });
  if (!answers.every(([, end]) => tokenizer.eosIds.includes(ids[end - 1]))) {
    warnings.push("the chat template ends an answer without an end-of-turn token, so stopping is not learnt");
  }
  const lost = calledTools(row).find((name) => !text.includes(name));
  const fault = lost === undefined ? undefined : `the model's chat template leaves out the call of ${lost}`;
  return { ids, answers, warnings, fault };
}

/** Names of the tools that the answers call. Templates made without tools in mind pass them over in silence. */
function calledTools({ messages }: ChatRow): string[] {
  return messages.flatMap(({ tool_calls }) =>
    ((tool_calls ?? []) as { function: { name: string } }[]).map((call) => call.function.name)
  );
}

/** Tokens of an answer, with the end-of-turn token that follows it, if only whitespace stands between. */
function answerTokens(
  span: ChatSpan,
  options: Whole,
  from: Boundary,
): { tokens: [number, number]; boundary: Boundary | null } {
  const { ids, tokenizer } = options;
  const { index: start, boundary: before } = tokenIndexAt(span.start, options, from);
  const { index, boundary } = tokenIndexAt(span.end, options, before ?? from);
  let end = Math.max(start, index);
  if (tokenizer.eosIds.includes(ids[end - 1])) return { tokens: [start, end], boundary };
  for (let i = end; i < ids.length; i++) {
    if (tokenizer.eosIds.includes(ids[i])) {
      end = i + 1;
      break;
    }
    if (tokenizer.decode([ids[i]]).trim() !== "") break;
  }
  return { tokens: [start, end], boundary };
}

interface Whole {
  text: string;
  /** Ids of `text`, perhaps with BOS before and EOS after it. */
  ids: number[];
  tokenizer: Tokenizer;
}

/** An offset in the text at which one token ends and the next begins. */
interface Boundary {
  at: number;
  index: number;
}

const textStart: Boundary = { at: 0, index: 0 };

/**
 * Index of the first token that holds a character at or after offset `at` of the text, and whether that is a boundary.
 * Usually the tokens of what lies between `from` and `at` are those that follow `from`; where merging crosses one of the
 * two, decoding finds the token across `at`.
 */
function tokenIndexAt(
  at: number,
  whole: Whole,
  from = textStart,
): { index: number; boundary: Boundary | null } {
  if (from.at > at) return tokenIndexAt(at, whole);
  const { text, ids, tokenizer } = whole;
  const between = tokenizer.encode(text.slice(from.at, at), { addSpecial: from.at === 0 });
  let same = 0;
  while (same < between.length && between[same] === ids[from.index + same]) same++;
  let index = from.index + same;
  if (same === between.length) return { index, boundary: { at, index } };
  if (from.at > 0) return tokenIndexAt(at, whole);
  const bos = tokenizer.addBos && tokenizer.encode(text)[0] !== ids[0] ? 1 : 0;
  while (index < ids.length && tokenizer.decode(ids.slice(bos, index + 1)).length <= at) index++;
  return { index, boundary: null };
}
