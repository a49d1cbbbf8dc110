/**
 * The run's log: one JSON object a line and step, appended as the step ends, so that a killed run loses at most the line
 * being written. Reading skips nothing but such a last line.
 */
import { UserError } from "../errors.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { kindOfPath } from "../model/model_files.ts";

export interface LogLine {
  /** Steps taken, from 1. */
  step: number;
  loss: number;
  grad_norm: number;
  learning_rate: number;
  tokens: number;
  seconds: number;
  /** Resident memory of the process after the step; missing in logs of earlier versions. */
  memory_bytes?: number;
  eval_loss?: number;
}

export interface TrainLog {
  append(line: LogLine): void;
  close(): void;
}

/** Opens the log for steps after `afterStep`: later lines, which a resumed run will write again, are cut off. */
export function openLog(path: string, { afterStep }: { afterStep: number }): TrainLog {
  const kept = afterStep > 0 && kindOfPath(path) !== "nothing"
    ? readLog(path).filter(({ step }) => step <= afterStep)
    : [];
  writeTextAtomic(path, kept.map((line) => JSON.stringify(line) + "\n").join(""));
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw fileError(error, { action: "write", path });
    }
  };
  const file = guard(() => Deno.openSync(path, { append: true }));
  return {
    append(line) {
      const bytes = new TextEncoder().encode(JSON.stringify(line) + "\n");
      guard(() => {
        for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
      });
    },
    close: () => file.close(),
  };
}

/** The most memory that any line tells of; null where none does. */
export function peakMemory(lines: LogLine[]): number | null {
  const told = lines.flatMap(({ memory_bytes }) => memory_bytes ?? []);
  return told.length === 0 ? null : Math.max(...told);
}

/** All complete lines. UserError names a line in the middle that is not JSON, or of something else. */
export function readLog(path: string): LogLine[] {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    throw fileError(error, { action: "read", path });
  }
  const lines = text.split("\n");
  lines.pop(); // what follows the last line end: nothing, or a line cut off by a kill
  return lines.map((line, i) => {
    const found = parsed(line);
    if (isLogLine(found)) return found;
    throw new UserError(
      `Cannot read ${path}:${i + 1}: ${found === undefined ? "not JSON" : "not a step of training"}`,
      {
        hint: "Remove the damaged line; training does not need it.",
      },
    );
  });
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** JSON has no NaN: numbers of a step that went wrong may be null. */
function isLogLine(value: unknown): value is LogLine {
  if (typeof value !== "object" || value === null) return false;
  const line = value as Record<string, unknown>;
  const isNumber = (key: string) => typeof line[key] === "number" || line[key] === null;
  return Number.isInteger(line.step) && ["loss", "grad_norm", "learning_rate", "tokens", "seconds"].every(isNumber) &&
    ["memory_bytes", "eval_loss"].every((key) => line[key] === undefined || isNumber(key));
}
