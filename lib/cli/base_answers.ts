/**
 * What was measured of a base model, in a file: the runs of an experiment share it, so that no question is asked of the
 * base model twice. An answer is found by everything that decides it; a file that is damaged is as good as none.
 */
import type { RowAnswer } from "../eval/results.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { kindOfPath, readText } from "../model/model_files.ts";
import { keyOf } from "./answer_log.ts";

/** Without the scores, which depend on the reference too and are counted anew. */
export type BaseAnswer = Pick<
  RowAnswer,
  "text" | "finish" | "tokens" | "loss" | "loss_tokens" | "choice" | "choice_for_length"
>;

export interface BaseAnswers {
  /** `parts`: model, engine, prompt, reference, choices and settings. */
  get(parts: unknown): BaseAnswer | undefined;
  /** Takes answers in, all in one write. */
  add(answers: { parts: unknown; answer: BaseAnswer }[]): void;
}

const format = "ftl-base-answers/1";

export function openBaseAnswers(path: string): BaseAnswers {
  const known = read(path);
  return {
    get: (parts) => known[keyOf(parts)],
    add(answers) {
      for (const { parts, answer } of answers) {
        const { text, finish, tokens, loss, loss_tokens, choice, choice_for_length } = answer;
        known[keyOf(parts)] = { text, finish, tokens, loss, loss_tokens, choice, choice_for_length };
      }
      if (answers.length > 0) writeTextAtomic(path, JSON.stringify({ format, answers: known }) + "\n");
    },
  };
}

function read(path: string): Record<string, BaseAnswer> {
  if (kindOfPath(path) !== "file") return {};
  try {
    const found = JSON.parse(readText(path));
    return found.format === format ? { ...found.answers } : {};
  } catch {
    return {};
  }
}
