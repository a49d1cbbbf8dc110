/**
 * What the commands share when they talk to a person: printing errors, the environment's settings, sizes and times in
 * words, text side by side, and Ctrl-C. The only module that prints errors, and with hub_settings.ts the only one
 * that reads the environment.
 */
import { join } from "node:path";
import { startFlags } from "../build/start_flags.ts";
import { UserError } from "../errors.ts";

/** Prints an error for a person and returns the exit code. Stacks are shown only when FTL_DEBUG is set. */
export function printError(error: unknown): number {
  if (error instanceof ToldError) return error.exitCode;
  const debug = Deno.env.get("FTL_DEBUG");
  if (error instanceof UserError) {
    console.error(`ftl: ${error.message}`);
    if (error.hint) console.error(`  try: ${asTyped(error.hint)}`);
    if (debug) console.error(error.stack, error.cause ?? "");
    return error.exitCode;
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  console.error(`ftl: internal error: ${message.split("\n")[0]}`);
  console.error(debug ? stack : "  try: the same with FTL_DEBUG=1, and report what it prints");
  return 1;
}

/**
 * Text with "ftl train" and the like as this person has to type them: the one file's own name (its stub tells it), or
 * the task of a checkout, through npx where Deno itself is not installed.
 */
export function asTyped(text: string): string {
  const deno = /[\\/]_npx[\\/]/.test(Deno.execPath()) ? `npx -y deno@${Deno.version.deno}` : "deno";
  const file = Deno.env.get("FTL_PROGRAM");
  const program = file ? (/[\s&()']/.test(file) ? `"${file}"` : file) : `${deno} task ftl`;
  return text.replaceAll(
    /\bftl (?=(train|data|plan|run|serve|export|eval|compare|experiment|report|pull|models|doctor|licenses|completions|man)\b)/g,
    `${program} `,
  );
}

/**
 * Program and arguments that start this program again with `args`. Of the one file it is what was unpacked, not the
 * script before it: on Windows the signal that is to end a program would end the script alone.
 */
export function ownCommand(args: string[]): [program: string, args: string[]] {
  const unpacked = import.meta.url.endsWith(".js");
  const main = new URL(unpacked ? "./main.js" : "../../main.ts", import.meta.url).href;
  return [Deno.execPath(), ["run", ...unpacked ? startFlags : ["--allow-all", "--quiet"], main, ...args]];
}

/** Thrown when nothing more is to be said: another process of this program has said it. */
export class ToldError extends Error {
  constructor(message: string, readonly exitCode: number) {
    super(message);
  }
}

/** Thrown when a person stopped the work and everything worth keeping is on the disk. */
export class StoppedError extends ToldError {
  constructor(message = "stopped", exitCode = 130) {
    super(message, exitCode);
  }
}

/**
 * For a program's start: the work goes on when the terminal is closed. From then on the console would throw, in the
 * middle of whatever it tells of; what nobody can read any more is dropped. A process without a terminal, as nohup
 * leaves it, does not stop for one that is closed: without a listener Deno would end it, though it was told to ignore
 * SIGHUP.
 */
export function outliveTerminal(): void {
  if (Deno.build.os !== "windows" && !hasTerminal()) Deno.addSignalListener("SIGHUP", () => {});
  for (const name of ["log", "error", "warn"] as const) {
    const print = console[name].bind(console);
    console[name] = (...data) => {
      try {
        print(...data);
      } catch {
        // Said above.
      }
    };
  }
}

/** Writes a part of a line. Where the reader has gone, as `head` does, it ends the command as other programs end. */
export async function writeOut(text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let done = 0; done < bytes.length;) done += await Deno.stdout.write(bytes.subarray(done));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw new StoppedError("nobody reads on", 141);
    throw error;
  }
}

/** Folder of models and prepared weights: FTL_CACHE, else ftl/ in the user's cache folder. */
export function cacheFolder(): string {
  const env = (name: string) => Deno.env.get(name) || undefined;
  const explicit = env("FTL_CACHE");
  if (explicit) return explicit;
  const home = env("HOME") ?? env("USERPROFILE");
  const base = env("XDG_CACHE_HOME") ?? env("LOCALAPPDATA") ?? (home && join(home, ".cache"));
  return base ? join(base, "ftl") : join(env("TMPDIR") ?? "/tmp", `ftl-${Deno.uid() ?? "user"}`);
}

/** Where Hugging Face's tools keep theirs: HF_HUB_CACHE, else hub/ in HF_HOME, else in the user's cache folder. */
export function huggingFaceCache(): string | undefined {
  const env = (name: string) => Deno.env.get(name) || undefined, home = env("HOME") ?? env("USERPROFILE");
  const explicit = env("HF_HUB_CACHE") ?? (env("HF_HOME") && join(env("HF_HOME")!, "hub"));
  const base = env("XDG_CACHE_HOME") ?? (home && join(home, ".cache"));
  return explicit ?? (base && join(base, "huggingface", "hub"));
}

/** Where `ftl pull` keeps its models. */
export function modelsFolder(): string {
  return join(cacheFolder(), "models");
}

/** The key that a server wants of its clients, where the command line has none. */
export function apiKeyFromEnvironment(): string | null {
  return Deno.env.get("FTL_API_KEY") || null;
}

/** A variable of the environment that a person named or is told to set; null where it is empty. */
export function environmentValue(name: string): string | null {
  return Deno.env.get(name)?.trim() || null;
}

/** The package index that pip and uv are told by environment, for machines without either. */
export function packageIndex(): string | undefined {
  return Deno.env.get("PIP_INDEX_URL") || Deno.env.get("UV_DEFAULT_INDEX") || Deno.env.get("UV_INDEX_URL") || undefined;
}

export interface Interrupt {
  /** Aborted by the first Ctrl-C, SIGTERM or closed terminal; Ctrl-C or SIGTERM once more ends the process at once. */
  signal: AbortSignal;
  /** Gives Ctrl-C its usual meaning back. */
  release(): void;
}

export function onInterrupt(say: () => void): Interrupt {
  const controller = new AbortController(), seen = new Set<Deno.Signal>();
  const listeners = stopSignals().map((name) => {
    const listener = () => {
      // A closed terminal may tell of it twice, and a session that ends sends SIGTERM and SIGHUP.
      if (seen.has(name) && name !== "SIGHUP") Deno.exit(130);
      seen.add(name);
      if (controller.signal.aborted) return;
      say();
      controller.abort(new StoppedError());
    };
    Deno.addSignalListener(name, listener);
    return [name, listener] as const;
  });
  return {
    signal: controller.signal,
    release: () => listeners.forEach(([name, listener]) => Deno.removeSignalListener(name, listener)),
  };
}

function stopSignals(): Deno.Signal[] {
  if (Deno.build.os === "windows") return ["SIGINT"];
  return hasTerminal() ? ["SIGINT", "SIGTERM", "SIGHUP"] : ["SIGINT", "SIGTERM"];
}

function hasTerminal(): boolean {
  return [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());
}

/** Whether what is printed may have colours: on a terminal, unless NO_COLOR is set. */
export function hasColours(): boolean {
  return Deno.stdout.isTerminal() && !Deno.noColor;
}

/** Columns of the terminal, or 100 where the output is a file or a pipe. */
export function terminalWidth(): number {
  try {
    return Deno.stdout.isTerminal() ? Math.max(40, Deno.consoleSize().columns) : 100;
  } catch {
    return 100;
  }
}

/** 98,362,432 -> "98.4 MB" (powers of 1000, as disks are sold). */
export function showBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0, value = bytes;
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** 75.2 -> "1:15", 4000 -> "1:06:40" */
export function showSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Two texts in columns of equal width under their titles, wrapped at spaces, each cut after `most` lines. */
export function sideBySide(
  left: { title: string; text: string },
  right: { title: string; text: string },
  { width, indent = 2, most = 10 }: { width: number; indent?: number; most?: number },
): string {
  const column = Math.floor((width - indent - 3) / 2);
  const lines = ({ title, text }: { title: string; text: string }) => {
    const body = wrap(text, column).filter((line) => line !== "");
    return [title, "-".repeat(title.length), ...body.slice(0, most), ...(body.length > most ? ["..."] : [])];
  };
  const a = lines(left), b = lines(right);
  const rows = Array.from({ length: Math.max(a.length, b.length) }, (_, i) => [a[i] ?? "", b[i] ?? ""]);
  const pad = " ".repeat(indent);
  return rows.map(([l, r]) => `${pad}${l}${" ".repeat(column - displayWidth(l))}   ${r}`.trimEnd()).join("\n");
}

/** Lines of at most `width` columns; words longer than a line are cut. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of printable(text).split("\n")) {
    let line = "";
    for (let word of paragraph.split(/\s+/).filter((part) => part !== "")) {
      while (displayWidth(word) > width) {
        if (line !== "") lines.push(line);
        line = "";
        let cut = "";
        for (const character of word) {
          if (displayWidth(cut + character) > width) break;
          cut += character;
        }
        lines.push(cut || [...word][0]);
        word = word.slice((cut || [...word][0]).length);
      }
      const joined = line === "" ? word : `${line} ${word}`;
      if (displayWidth(joined) <= width) line = joined;
      else [line] = [word, lines.push(line)];
    }
    lines.push(line);
  }
  return lines;
}

/** A model's text without what would move the cursor or change colours. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

/** Columns a text takes: East Asian wide characters and emoji take two, combining marks none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/\p{Mark}|\u200d|\ufe0f/u.test(character)) continue;
    width +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/.test(character) ||
        /\p{Emoji_Presentation}/u.test(character)
        ? 2
        : 1;
  }
  return width;
}
