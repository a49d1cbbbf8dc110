/**
 * The answers of a comparison, one JSON object a line, appended as they come, so that a killed run loses at most the line
 * being written and no answer is asked for twice. A line is found by its key, which model, question and settings make.
 */
import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import type { GivenAnswer } from "../eval/comparison.ts";
import { fileError } from "../files/file_error.ts";
import { openLineFile } from "../files/line_file.ts";
import { kindOfPath } from "../model/model_files.ts";

export interface LoggedAnswer extends GivenAnswer {
  key: string;
  /** For readers: what the key is of. */
  model: string;
  question: string;
}

export interface AnswerLog {
  get(key: string): LoggedAnswer | undefined;
  /** Whether there is an answer, not only a failure. */
  has(key: string): boolean;
  add(answer: LoggedAnswer): void;
  close(): void;
}

/** The key of an answer: everything that decides it. */
export function keyOf(parts: unknown): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/** Opens or makes the file. Errors: UserError when it cannot be used, or a line that is not the last one is damaged. */
export function openAnswerLog(path: string): AnswerLog {
  const known = new Map<string, LoggedAnswer>();
  const remember = (answer: LoggedAnswer) => {
    if (answer.error === undefined || !hasAnswer(answer.key)) known.set(answer.key, answer);
  };
  const hasAnswer = (key: string) => known.get(key)?.text !== undefined;
  for (const [i, line] of wholeLines(path).entries()) if (line !== "") remember(readLine(line, `${path}:${i + 1}`));
  const file = openLineFile(path);
  return {
    get: (key) => known.get(key),
    has: hasAnswer,
    add(answer) {
      file.append(JSON.stringify(answer) + "\n");
      remember(answer);
    },
    close: () => file.close(),
  };
}

/** The lines of a file, none where it is not there. What follows the last line end was cut off by a kill, and goes. */
function wholeLines(path: string): string[] {
  if (kindOfPath(path) === "nothing") return [];
  try {
    const bytes = Deno.readFileSync(path), end = bytes.lastIndexOf(0x0a) + 1;
    if (end < bytes.length) Deno.truncateSync(path, end);
    return new TextDecoder().decode(bytes.subarray(0, end)).split("\n");
  } catch (error) {
    throw fileError(error, { action: "write", path });
  }
}

function readLine(line: string, place: string): LoggedAnswer {
  try {
    const answer = JSON.parse(line);
    if (typeof answer?.key === "string" && typeof (answer.text ?? answer.error) === "string") return answer;
  } catch {
    // Said below.
  }
  throw new UserError(`Cannot read ${place}: not an answer of ftl compare`, {
    hint: "Remove the line, or name another --output-dir; the answer will be asked for again.",
  });
}
