/**
 * Which questions an evaluation asks: those of the files named, or those that belong to a run: the rows it learnt, the
 * rows it held out, and the control set. The one place where rows of lib/data become questions, and questions become the
 * rows that a model's loss is measured on.
 */
import { basename } from "node:path";
import { cleanRows } from "../data/clean.ts";
import { splitHeldOut } from "../data/order.ts";
import { readRows } from "../data/read.ts";
import { type Example, renderRow } from "../data/render.ts";
import { isChat, type Row } from "../data/rows.ts";
import { type Extras, type Question, type QuestionSet, readExtras, type SetRole } from "../eval/questions.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { promptIds } from "./prompts.ts";
import type { TrainSettings } from "./resolve.ts";
import { type PromptStyle, readData } from "./rows.ts";
import { readRunSettings } from "./saved_run.ts";
import { isRunFolder } from "./run_folder.ts";
import { controlSet, samples, unseenSetOf, untaughtSet } from "./samples.ts";

export interface WantedSets {
  /** Files named by a person; none: the sets that belong to `what`. */
  files: string[];
  /** Run folder, adapter folder or model; null where there is none to go by. */
  what: string | null;
  /** Questions of each set, the first ones; 0: all. */
  limit: number;
}

/** Errors: UserError when a file cannot be read or has no row to ask. */
export function questionSets({ files, what, limit }: WantedSets): QuestionSet[] {
  const sets = files.length > 0
    ? files.map((source) => setOf(readEvalRows(source), { source, role: roleOf(source) }))
    : what !== null && isRunFolder(what)
    ? setsOfRun(readRunSettings(what))
    : sampleSets("data/cultural-qa-16.jsonl");
  if (limit === 0) return sets;
  return sets.map((set) => ({ ...set, questions: set.questions.slice(0, limit) }));
}

/** What a run learnt, what it did not see, and what it should not touch. */
function setsOfRun(settings: TrainSettings): QuestionSet[] {
  const { data: source, eval_data, eval_split, seed } = settings;
  const trained = readEvalRows(source);
  if (eval_data !== null) {
    return [
      setOf(trained, { source, role: "trained" }),
      setOf(readEvalRows(eval_data), { source: eval_data, role: "unseen" }),
      ...namedSets([[controlSet, "control"]]),
    ];
  }
  if (eval_split > 0) {
    const { train, heldOut } = splitHeldOut(trained, { fraction: eval_split, seed });
    return [
      setOf(train, { source, role: "trained" }),
      setOf(heldOut, { source, role: "unseen" }),
      ...namedSets([[controlSet, "control"]]),
    ];
  }
  if (unseenSetOf(source) !== undefined) return sampleSets(source);
  return [setOf(trained, { source, role: "trained" }), ...namedSets([[controlSet, "control"]])];
}

/** The sets that come with one of the sample data sets. */
function sampleSets(trained: string): QuestionSet[] {
  return namedSets([[trained, "trained"], [unseenSetOf(trained)!, "unseen"], [untaughtSet, "untaught"], [
    controlSet,
    "control",
  ]]);
}

function namedSets(sets: [source: string, role: SetRole][]): QuestionSet[] {
  return sets.map(([source, role]) => setOf(readEvalRows(source), { source, role }));
}

/** The role of a file that a person named: a sample's is known. */
function roleOf(source: string): SetRole {
  if (!Object.hasOwn(samples, source)) return "given";
  if (source === controlSet) return "control";
  if (source === untaughtSet) return "untaught";
  return unseenSetOf(source) === undefined ? "unseen" : "trained";
}

interface EvalRow {
  row: Row;
  extras: Extras;
  place: string;
}

/** The rows of a file, cleaned as training cleans them, with the fields that only evaluation reads. */
function readEvalRows(source: string): EvalRow[] {
  const content = readData(source);
  const { rows } = cleanRows(readRows(content, { source }).rows, { source });
  const extras = extrasByLine(content, source);
  return rows.map((row) => ({ row, extras: extras.get(row.line) ?? {}, place: `${source}:${row.line}` }));
}

/** Fields beside those of training, of jsonl only: there each line is an object of its own. */
function extrasByLine(content: Uint8Array | string, source: string): Map<number, Extras> {
  const text = typeof content === "string" ? content : new TextDecoder().decode(content);
  const found = new Map<number, Extras>();
  for (const [i, line] of text.split("\n").entries()) {
    if (!/"(accept|choices)"/.test(line)) continue;
    try {
      found.set(i + 1, readExtras(JSON.parse(line), `${source}:${i + 1}`));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return found;
}

function setOf(rows: EvalRow[], { source, role }: { source: string; role: SetRole }): QuestionSet {
  return { name: basename(source).replace(/\.\w+$/, ""), role, source, questions: rows.map(questionOfRow) };
}

function questionOfRow({ row, extras, place }: EvalRow): Question {
  const asked = isChat(row) ? conversationBeforeAnswer(row.messages) : {
    shown: row.input === "" ? row.instruction : `${row.instruction}\n${row.input}`,
    messages: [{
      role: "user",
      content: row.input === "" ? row.instruction : `${row.instruction}\n\n${row.input}`,
    }],
    alpaca: { instruction: row.instruction, input: row.input },
    reference: row.output,
  };
  return { ...asked, place, accepted: extras.accepted ?? [asked.reference], choices: extras.choices };
}

/** The last answer is the one asked for. */
function conversationBeforeAnswer(all: Question["messages"]): Pick<Question, "shown" | "messages" | "reference"> {
  const last = all.findLastIndex(({ role }) => role === "assistant"), messages = all.slice(0, last);
  return { shown: messages.at(-1)?.content ?? "", messages, reference: all[last].content };
}

export interface Asking {
  tokenizer: Tokenizer;
  style: PromptStyle;
  maxLength: number;
}

/** The style to ask a model in that nothing says the style of: its chat template, or Alpaca's prompt where it has none. */
export function styleOfModel(tokenizer: Tokenizer): PromptStyle {
  return tokenizer.chatTemplate === null ? "alpaca" : "chat";
}

const isAlpaca = (style: PromptStyle) => style !== "chat";

/** A question as token ids, ready for the answer. */
export function questionIds({ messages, alpaca }: Question, { tokenizer, style }: Omit<Asking, "maxLength">): number[] {
  if (!alpaca || !isAlpaca(style)) return promptIds(messages, { tokenizer, style });
  const system = alpaca.input === "" ? [] : [{ role: "system", content: alpaca.input }];
  return promptIds([...system, { role: "user", content: alpaca.instruction }], { tokenizer, style });
}

/** A question with an answer, of which only the answer counts in the loss; null when it is longer than `maxLength`. */
export function answeredRow(question: Question, answer: string, asking: Asking): Example | null {
  const { tokenizer, style, maxLength } = asking, { alpaca } = question;
  const asAlpaca = alpaca !== undefined && isAlpaca(style);
  const row: Row = asAlpaca
    ? { line: 0, ...alpaca, output: answer }
    : { line: 0, messages: [...question.messages, { role: "assistant", content: answer }] };
  const rendered = renderRow(row, {
    tokenizer,
    style: asAlpaca ? style as Exclude<PromptStyle, "chat"> : undefined,
    responseOnly: true,
    maxLength,
    source: question.place,
  });
  if (!("tokens" in rendered)) return null;
  // Earlier answers of a conversation are part of its question.
  const { targets } = rendered, end = targets.lastIndexOf(1);
  targets.fill(0, 0, targets.lastIndexOf(0, end) + 1);
  return rendered;
}

/** The same without the mark that ends an answer: whether it goes on says nothing about which choice is likelier. */
export function choiceRow(question: Question, choice: string, asking: Asking): Example | null {
  const row = answeredRow(question, choice, asking);
  row?.tokens.forEach((token, i) => {
    if (asking.tokenizer.eosIds.includes(token)) row.targets[i] = 0;
  });
  return row;
}
