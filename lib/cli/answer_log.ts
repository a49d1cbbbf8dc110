/**
 * The answers of a comparison, one JSON object a line, appended as they come, so that a killed run loses at most the line
 * being written and no answer is asked for twice. A line is found by its key, which model, question and settings make.
 */
import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import type { GivenAnswer } from "../eval/comparison.ts";
import { fileError } from "../files/file_error.ts";

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
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw fileError(error, { action: "write", path });
    }
  };
  const file = guard(() => Deno.openSync(path, { read: true, append: true, create: true }));
  const known = new Map<string, LoggedAnswer>();
  const remember = (answer: LoggedAnswer) => {
    if (answer.error === undefined || !hasAnswer(answer.key)) known.set(answer.key, answer);
  };
  const hasAnswer = (key: string) => known.get(key)?.text !== undefined;
  try {
    const bytes = guard(() => Deno.readFileSync(path)), end = bytes.lastIndexOf(0x0a) + 1;
    // What follows the last line end was cut off by a kill.
    if (end < bytes.length) guard(() => file.truncateSync(end));
    const lines = new TextDecoder().decode(bytes.subarray(0, end)).split("\n");
    for (const [i, line] of lines.entries()) if (line !== "") remember(readLine(line, `${path}:${i + 1}`));
  } catch (error) {
    file.close();
    throw error;
  }
  return {
    get: (key) => known.get(key),
    has: hasAnswer,
    add(answer) {
      const bytes = new TextEncoder().encode(JSON.stringify(answer) + "\n");
      guard(() => {
        for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
      });
      remember(answer);
    },
    close: () => file.close(),
  };
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
