/**
 * Which questions an evaluation asks: those of the files named, or those that belong to a run: the rows it learnt, the
 * rows it held out, and the control set. The one place where rows of lib/data become questions, and questions become the
 * rows that a model's loss is measured on.
 */
import { basename } from "node:path";
import { cleanedRows, type DataFiles } from "../data/dataset.ts";
import type { Example } from "../data/examples.ts";
import { makeNearDuplicates } from "../data/near_duplicates.ts";
import { splitHeldOut } from "../data/order.ts";
import { renderRow } from "../data/render.ts";
import { type AnsweredRow, isChat, isText, type Place, type Row, textsOf } from "../data/rows.ts";
import { linesOf, textOf } from "../data/text_stream.ts";
import { UserError } from "../errors.ts";
import { type Extras, type Question, type QuestionSet, readExtras, type SetRole } from "../eval/questions.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { chooseFiles } from "./data_files.ts";
import { promptIds } from "./prompts.ts";
import type { TrainSettings } from "./resolve.ts";
import { type PromptStyle, readingOf } from "./rows.ts";
import { type Named, readRunSettings } from "./saved_run.ts";
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
export async function questionSets({ files, what, limit }: WantedSets): Promise<QuestionSet[]> {
  const sets = files.length > 0
    ? await Promise.all(
      files.map(async (name) => setOf(await readEvalRows([name]), { source: name, role: roleOf(name) })),
    )
    : what !== null && isRunFolder(what)
    ? await setsOfRun(readRunSettings(what))
    : await sampleSets("data/cultural-qa-16.jsonl");
  if (limit === 0) return sets;
  return sets.map((set) => ({ ...set, questions: set.questions.slice(0, limit) }));
}

/** What a run learnt, what it did not see, and what it should not touch. */
async function setsOfRun(settings: TrainSettings): Promise<QuestionSet[]> {
  const { data, eval_data, eval_split, seed } = settings, source = data.join(", ");
  if (eval_data.length === 0 && eval_split === 0 && unseenSetOf(source) !== undefined) return await sampleSets(source);
  const learnt = await readEvalRows(data, settings), control = await namedSets([[controlSet, "control"]]);
  if (eval_data.length > 0) {
    const unseen = setOf(await readEvalRows(eval_data, settings), { source: eval_data.join(", "), role: "unseen" });
    return [setOf(learnt, { source, role: "trained" }), unseen, ...control];
  }
  if (eval_split > 0) {
    const { train, heldOut } = splitHeldOut({
      ...{ rows: learnt.length, fraction: eval_split, seed },
      similar: similarRows(learnt),
    });
    const part = (rows: number[], role: SetRole) => setOf(rows.map((row) => learnt[row]), { source, role });
    return [part(train, "trained"), part(heldOut, "unseen"), ...control];
  }
  return [setOf(learnt, { source, role: "trained" }), ...control];
}

/** As lib/data/dataset.ts finds them, so that the split is the run's. */
function similarRows(rows: EvalRow[]): Map<number, number> {
  const similar = new Map<number, number>(), nearDuplicate = makeNearDuplicates();
  for (const [index, { row }] of rows.entries()) {
    const twin = nearDuplicate(textsOf(row).join("\n"));
    if (twin !== undefined) similar.set(index, twin);
  }
  return similar;
}

/** The sets that come with one of the sample data sets. */
function sampleSets(trained: string): Promise<QuestionSet[]> {
  return namedSets([
    ...[[trained, "trained"], [unseenSetOf(trained)!, "unseen"]] as const,
    ...[[untaughtSet, "untaught"], [controlSet, "control"]] as const,
  ]);
}

async function namedSets(sets: (readonly [source: string, role: SetRole])[]): Promise<QuestionSet[]> {
  return await Promise.all(sets.map(async ([source, role]) => setOf(await readEvalRows([source]), { source, role })));
}

/** The role of a file that a person named: a sample's is known. */
function roleOf(source: string): SetRole {
  if (!Object.hasOwn(samples, source)) return "given";
  if (source === controlSet) return "control";
  if (source === untaughtSet) return "untaught";
  return unseenSetOf(source) === undefined ? "unseen" : "trained";
}

interface EvalRow {
  row: AnsweredRow;
  extras: Extras;
}

type Reading = Pick<TrainSettings, "prompt_style" | "data_format" | "columns">;

/** The rows of files, read and cleaned as training does, with the fields that only evaluation reads. */
async function readEvalRows(
  names: string[],
  reading: Reading = { prompt_style: "auto", data_format: "auto", columns: null },
): Promise<EvalRow[]> {
  const { data } = await chooseFiles({ data: names, eval_data: [] });
  const extras = await extrasByPlace(data), rows: EvalRow[] = [];
  for await (const row of cleanedRows(data, { ...readingOf(reading), notes: [] })) {
    if (!isText(row)) rows.push({ row, extras: extras.get(row.place) ?? {} });
  }
  if (rows.length === 0) {
    throw new UserError(`${data.name}: no row holds a question and an answer`, {
      hint: "documents cannot be asked: name rows with instruction and output, or messages",
    });
  }
  return rows;
}

/** Fields beside those of training, of jsonl only: there each line is an object of its own. */
async function extrasByPlace(files: DataFiles): Promise<Map<Place, Extras>> {
  const found = new Map<Place, Extras>();
  for (const open of files.open) {
    const source = open();
    try {
      if (!/\.(jsonl|ndjson)(\.gz)?$/i.test(source.name)) continue;
      for await (const { text, line } of linesOf(textOf(source), source.name)) {
        if (!/"(accept|choices)"/.test(text)) continue;
        const place = `${source.name}:${line}`;
        try {
          found.set(place, readExtras(JSON.parse(text), place));
        } catch (error) {
          if (!(error instanceof SyntaxError)) throw error;
        }
      }
    } finally {
      source.close();
    }
  }
  return found;
}

function setOf(rows: EvalRow[], { source, role }: { source: string; role: SetRole }): QuestionSet {
  return { name: basename(source).replace(/\.\w+$/, ""), role, source, questions: rows.map(questionOfRow) };
}

function questionOfRow({ row, extras }: EvalRow): Question {
  const asked = isChat(row) ? conversationBeforeAnswer(row.messages) : {
    shown: row.input === "" ? row.instruction : `${row.instruction}\n${row.input}`,
    messages: [{
      role: "user",
      content: row.input === "" ? row.instruction : `${row.instruction}\n\n${row.input}`,
    }],
    alpaca: { instruction: row.instruction, input: row.input },
    reference: row.output,
  };
  return { ...asked, place: row.place, accepted: extras.accepted ?? [asked.reference], choices: extras.choices };
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

/** The style to ask a model in: as was asked for, else as it was trained, else its chat template, else Alpaca's prompt. */
export function styleToAsk(
  prompt_style: TrainSettings["prompt_style"],
  { named, tokenizer }: { named: Pick<Named, "style">; tokenizer: Tokenizer },
): PromptStyle {
  if (prompt_style !== "auto") return prompt_style;
  return named.style ?? (tokenizer.chatTemplate === null ? "alpaca" : "chat");
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
    ? { place: question.place, ...alpaca, output: answer }
    : { place: question.place, messages: [...question.messages, { role: "assistant", content: answer }] };
  const { example } = renderRow(row, {
    tokenizer,
    style: asAlpaca ? style as Exclude<PromptStyle, "chat"> : undefined,
    responseOnly: true,
    maxLength,
  });
  if (!example) return null;
  // Earlier answers of a conversation are part of its question.
  const { targets } = example, end = targets.lastIndexOf(1);
  targets.fill(0, 0, targets.lastIndexOf(0, end) + 1);
  return example;
}

/** The same without the mark that ends an answer: whether it goes on says nothing about which choice is likelier. */
export function choiceRow(question: Question, choice: string, asking: Asking): Example | null {
  const row = answeredRow(question, choice, asking);
  row?.tokens.forEach((token, i) => {
    if (asking.tokenizer.eosIds.includes(token)) row.targets[i] = 0;
  });
  return row;
}
