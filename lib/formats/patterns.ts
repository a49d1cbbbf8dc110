/**
 * Regular expressions that come with a file: tokenizers and adapters bring their own. JavaScript's matcher goes back and
 * tries again, so that some expressions take longer than the universe is old for a line of text, and cannot be stopped.
 */

/** Repetitions without end that may follow each other: the time grows with this power of the text's length. */
const mostRepeats = 3;

interface Group {
  /** Repetitions without end in the present alternative, and whether any is in the group. */
  repeats: number;
  endless: boolean;
  choice: boolean;
}

/**
 * Whether matching may take forever: something without end is repeated without end ("(a+)+"), or a choice is ("(a|a)*"),
 * or more than three endless repetitions stand in a row. Refuses some that would do no harm, and none that tokenizers use.
 */
export function mayNeverEnd(pattern: string): boolean {
  const open: Group[] = [{ repeats: 0, endless: false, choice: false }];
  let closed: Group | undefined;
  for (let at = 0; at < pattern.length; at++) {
    const sign = pattern[at], group = open[open.length - 1], just = closed;
    closed = undefined;
    if (sign === "\\") at++;
    else if (sign === "[") at = classEnd(pattern, at);
    else if (sign === "(") open.push({ repeats: 0, endless: false, choice: false });
    else if (sign === ")" && open.length > 1) {
      closed = open.pop()!;
      const outer = open[open.length - 1];
      outer.endless ||= closed.endless;
      outer.choice ||= closed.choice;
      outer.repeats += closed.repeats;
    } else if (sign === "|") {
      group.choice = true;
      group.repeats = 0;
    } else if (sign === "*" || sign === "+" || /^\{\d*,\d*\}/.test(pattern.slice(at, at + 20))) {
      if (sign === "{" && !isLong(pattern, at)) continue;
      if (just?.endless || just?.choice) return true;
      group.endless = true;
      if (++group.repeats > mostRepeats) return true;
    }
  }
  return false;
}

/** "{2,}" and "{1,1000}", not "{1,3}". */
function isLong(pattern: string, at: number): boolean {
  const most = /^\{\d*,(\d*)\}/.exec(pattern.slice(at, at + 20))![1];
  return most === "" || Number(most) > 16;
}

/** The place of the "]" that ends a class of characters, or the end of the pattern. */
function classEnd(pattern: string, at: number): number {
  for (let i = at + (pattern[at + 1] === "^" ? 2 : 1), first = i; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "]" && i > first) return i;
  }
  return pattern.length;
}
