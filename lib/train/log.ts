/**
 * The run's log: one JSON object a line and step, appended as the step ends, so that a killed run loses at most the line
 * being written. Reading skips nothing but such a last line; opening it to go on also leaves out damaged lines.
 */
import { UserError } from "../errors.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { openLineFile } from "../files/line_file.ts";
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
  /** UserError where the line could not be written: it is kept, and written together with the next one. */
  append(line: LogLine): void;
  /** Writes what is kept and forces the file to disk. UserError where that fails. */
  sync(): void;
  /** Closes the file; what is still kept is lost. */
  close(): void;
}

/**
 * Opens the log for steps after `afterStep`: later lines, which a resumed run will write again, are cut off. `missing`
 * counts earlier steps without a line, where the file was damaged.
 */
export function openLog(path: string, { afterStep }: { afterStep: number }): TrainLog & { missing: number } {
  const kept = afterStep > 0 && kindOfPath(path) !== "nothing"
    ? parseLines(path).flatMap((line) => line && line.step <= afterStep ? [line] : [])
    : [];
  writeTextAtomic(path, kept.map((line) => JSON.stringify(line) + "\n").join(""));
  const file = openLineFile(path);
  let waiting = "";
  const flush = () => {
    file.append(waiting);
    waiting = "";
  };
  return {
    missing: afterStep - new Set(kept.map(({ step }) => step)).size,
    append(line) {
      waiting += JSON.stringify(line) + "\n";
      flush();
    },
    sync() {
      flush();
      file.sync();
    },
    close: () => file.close(),
  };
}

/** The most memory that any line tells of; null where none does. */
export function peakMemory(lines: LogLine[]): number | null {
  const told = lines.flatMap(({ memory_bytes }) => memory_bytes ?? []);
  return told.length === 0 ? null : Math.max(...told);
}

/** All complete lines. UserError names a line in the middle that is no step of training. */
export function readLog(path: string): LogLine[] {
  return parseLines(path).map((line, i) => {
    if (line) return line;
    throw new UserError(`Cannot read ${path}:${i + 1}: not a step of training`, {
      hint: "Remove the damaged line; training does not need it.",
    });
  });
}

/** Every complete line; undefined for one that is damaged. */
function parseLines(path: string): (LogLine | undefined)[] {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    throw fileError(error, { action: "read", path });
  }
  const lines = text.split("\n");
  lines.pop(); // what follows the last line end: nothing, or a line cut off by a kill
  return lines.map((line) => {
    const found = parsed(line);
    return isLogLine(found) ? found : undefined;
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
