/**
 * How deep a JSON text nests. JSON.parse() reads any depth, but what walks over the value afterwards, JSON.stringify()
 * among it, is recursive and ends in a stack overflow at some thousand levels; no file we read needs more than a few.
 */

/** Levels that are read. */
const mostLevels = 200;

/** Errors: SyntaxError, as JSON.parse() throws it, for a text that is not JSON or nests deeper than 200 levels. */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // It quotes the text, whose lines would look like lines of the message.
    throw new SyntaxError((error as Error).message.replace(/\s+/g, " "));
  }
  if (isDeeper(text, mostLevels)) throw new SyntaxError(`nested deeper than ${mostLevels} levels`);
  return value;
}

/** Whether a text that is JSON has more than `levels` arrays and objects inside each other. */
function isDeeper(text: string, levels: number): boolean {
  for (let at = 0, depth = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) { // A string, to its end.
      for (at++; text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++;
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > levels) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}
