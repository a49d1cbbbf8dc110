/**
 * The one error class for mistakes a user can act on. Everything else is a bug and keeps its stack.
 *
 * A message says what happened and where (file:line, tensor name, byte offset); the hint says what to do. Both may quote
 * files and servers: whatever these hold, a message stays one line of sane length that a terminal does not obey. Only a
 * list of problems has more, a line each.
 */
export class UserError extends Error {
  /** What to do about it, one line. */
  readonly hint?: string;
  /** 1: the work could not be done. 2: the command line or the configuration is wrong. */
  readonly exitCode: 1 | 2;
  /** What is wrong, where that is several things; each has a line of the message. */
  readonly problems: readonly string[];

  constructor(
    message: string,
    options: { hint?: string; exitCode?: 1 | 2; cause?: unknown; problems?: readonly string[] } = {},
  ) {
    const { problems = [] } = options;
    super([message, ...problems].map(printable).join("\n  "), { cause: options.cause });
    this.problems = problems;
    this.name = "UserError";
    this.hint = options.hint === undefined ? undefined : printable(options.hint);
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Control characters, line separators, and what turns the direction of writing. */
// deno-lint-ignore no-control-regex
const unprintable = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
/** Characters of a line, and how many of a longer one's beginning and end are shown. */
const longestLine = 1000, shownStart = 700, shownEnd = 200;

/** Text as one line for a person to read. */
function printable(text: string): string {
  // Shortened before, since a line may be as long as a file, and after, since a sign in digits takes the room of six.
  return shortened(shortened(text).replace(unprintable, inDigits));
}

function shortened(line: string): string {
  return line.length > longestLine ? `${line.slice(0, shownStart)} ... ${line.slice(-shownEnd)}` : line;
}

function inDigits(sign: string): string {
  return "\\u" + sign.charCodeAt(0).toString(16).padStart(4, "0");
}

/** The candidate nearest to `word` by edit distance, or undefined when none is near enough to be a typing mistake. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(word.length / 2));
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Levenshtein distance: insertions, deletions and replacements that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    previous = row;
  }
  return previous[b.length];
}
