/**
 * Progress for a person: one line that is rewritten where the output is a terminal, and a few plain lines where it is a
 * file or a pipe. Written to stderr, so that stdout holds results only.
 */
import { showBytes, showSeconds, terminalWidth } from "./terminal.ts";

export interface LiveLine {
  /** Replaces the line on a terminal; elsewhere prints it when `keep` is set. */
  show(text: string, keep?: boolean): void;
  /** Ends the line, so that what follows starts on a new one. */
  end(): void;
}

export function liveLine(): LiveLine {
  const terminal = Deno.stderr.isTerminal();
  let open = false;
  return {
    show(text, keep = false) {
      if (terminal) {
        write(`\r${text.slice(0, terminalWidth() - 1)}\x1b[K`);
        open = true;
      } else if (keep) {
        write(text + "\n");
      }
    },
    end() {
      if (open) write("\r\x1b[K");
      open = false;
    },
  };
}

/** A bar for work whose size is known, such as a download. `plain` also says where there is no terminal what has begun. */
export function progressBar({ plain = false } = {}) {
  const line = liveLine();
  let last = 0, label = "";
  return {
    show(what: string, share: number, of: string) {
      const now = performance.now();
      const started = what !== label;
      if (!started && now - last < 100) return;
      [last, label] = [now, what];
      const filled = Math.round(20 * Math.min(1, share));
      const percent = `${Math.floor(100 * Math.min(1, share))}%`.padStart(4);
      line.show(`${what} [${"#".repeat(filled)}${".".repeat(20 - filled)}] ${percent} of ${of}`, false);
      if (started && plain && !Deno.stderr.isTerminal()) line.show(`${what}, ${of}`, true);
    },
    end: () => line.end(),
    [Symbol.dispose]: () => line.end(),
  };
}

/** For bytes that arrive: "85 MB/s  1:02 left", by the last five seconds; nothing while that says nothing yet. */
export function speedometer() {
  const seen: { at: number; bytes: number }[] = [];
  return (bytes: number, total: number): string => {
    const at = performance.now();
    if (bytes < (seen.at(-1)?.bytes ?? 0)) seen.length = 0;
    if (at - (seen.at(-1)?.at ?? 0) >= 100 || seen.length === 0) seen.push({ at, bytes });
    while (seen.length > 1 && at - seen[0].at > 5000) seen.shift();
    const speed = (bytes - seen[0].bytes) / (at - seen[0].at) * 1000;
    if (at - seen[0].at < 1000 || !(speed > 0)) return "";
    return `${showBytes(speed)}/s  ${showSeconds((total - bytes) / speed)} left`;
  };
}

export interface StepReport {
  step: number;
  loss: number;
  /** Tokens of this step, and its time. */
  tokens: number;
  seconds: number;
}

export interface ProgressOptions {
  steps: number;
  firstStep?: number;
  /** What is said of memory; default: what the process has. */
  memory?: () => string;
}

/** The line of a training run: step, loss, tokens/s, time left, memory. */
export function trainingProgress({ steps, firstStep = 0, memory = processMemory }: ProgressOptions) {
  const line = liveLine();
  const every = Math.max(1, Math.ceil(steps / 10));
  let tokens = 0, seconds = 0, done = 0;
  return {
    step(report: StepReport) {
      tokens += report.tokens;
      seconds += report.seconds;
      done++;
      const left = (steps - report.step) * seconds / done;
      const width = String(steps).length;
      const text = [
        `step ${String(report.step).padStart(width)}/${steps}`,
        `loss ${report.loss.toFixed(4)}`,
        `${Math.round(tokens / seconds)} tokens/s`,
        report.step === steps ? `took ${showSeconds(seconds)}` : `${showSeconds(left)} left`,
        memory(),
      ].join("  ");
      if (report.step === steps) {
        line.end();
        console.error(text);
      } else line.show(text, report.step === firstStep + 1 || report.step % every === 0);
    },
    /** Another line above the progress line. */
    note(text: string) {
      line.end();
      console.error(text);
    },
    end: () => line.end(),
  };
}

function processMemory(): string {
  return `${showBytes(Deno.memoryUsage().rss)} memory`;
}

function write(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // A closed pipe must not end the training.
  }
}
