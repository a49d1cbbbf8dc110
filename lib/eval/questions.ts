/**
 * What is asked in an evaluation: questions with their reference answers, in sets that say what an answer to them shows.
 * Plain data, and the reader of the fields that rows for evaluation have beside those of training.
 */
import { UserError } from "../errors.ts";
import type { Message } from "../text/chat_template.ts";

/** What good answers to a set show. */
export type SetRole = "trained" | "unseen" | "untaught" | "control" | "given";

export interface Question {
  /** Where it stands, for a person: "rows.jsonl:12". */
  place: string;
  /** As a person reads it. */
  shown: string;
  /** As a chat model is asked: a conversation that ends with the user. */
  messages: Message[];
  /** The parts of an Alpaca row, for models that were trained on these. */
  alpaca?: { instruction: string; input: string };
  reference: string;
  /** Phrases of which a right answer holds one; where a row names none, the whole reference. */
  accepted: string[];
  /** Answers to choose from, and the place of the right one, from 0. */
  choices?: { texts: string[]; right: number };
}

export interface QuestionSet {
  /** File's name without its folder and ending. */
  name: string;
  role: SetRole;
  /** File the rows are from. */
  source: string;
  questions: Question[];
}

/** What each set shows. */
export const roleTitles: Record<SetRole, string> = {
  trained: "memorised: rows that were trained",
  unseen: "learned: other questions about them",
  untaught: "untaught: other facts about the same topics",
  control: "forgotten: unrelated questions",
  given: "rows given",
};

export interface Extras {
  accepted?: string[];
  choices?: Question["choices"];
}

/** The fields `accept`, `choices` and `answer` of a row. Errors: UserError that names place and field. */
export function readExtras(row: Record<string, unknown>, place: string): Extras {
  const fail = (what: string) =>
    new UserError(`${place}: ${what}`, {
      hint: 'for example "accept": ["Paris"], "choices": ["Rome", "Paris"], "answer": 1',
    });
  const texts = (key: string, least: number) => {
    const value = row[key];
    const good = Array.isArray(value) && value.length >= least &&
      value.every((text) => typeof text === "string" && text.trim() !== "");
    if (!good) throw fail(`"${key}" must be a list of at least ${least} texts`);
    return value as string[];
  };
  const extras: Extras = {};
  if (row.accept !== undefined) extras.accepted = texts("accept", 1);
  if (row.choices === undefined) return extras;
  const choices = texts("choices", 2), right = row.answer;
  if (!(Number.isInteger(right) && (right as number) >= 0 && (right as number) < choices.length)) {
    throw fail(`"answer" must be the place of the right choice, 0 to ${choices.length - 1}`);
  }
  if (new Set(choices).size < choices.length) throw fail('"choices" holds the same text twice');
  return { ...extras, choices: { texts: choices, right: right as number } };
}
