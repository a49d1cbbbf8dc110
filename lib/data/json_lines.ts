/** Cuts the text of a JSON array into its elements, keeping the lines they begin on. Knows nothing of rows. */
import { UserError } from "../errors.ts";
import { checkLength, type Piece } from "./text_stream.ts";

/** Elements of a JSON array. Errors: UserError with the line where the array goes wrong. */
export async function* elementsOf(texts: AsyncIterable<string>, name: string): AsyncGenerator<Piece> {
  const fail = (what: string) =>
    new UserError(`${name}:${line}: ${what}`, { hint: "Correct the JSON array, or write one JSON object per line." });
  let line = 1, depth = 0, inString = false, escaped = false, closed = false;
  let current: Piece | undefined;
  for await (const text of texts) {
    let from = 0;
    for (let i = 0; i < text.length; i++) {
      const c = text[i];
      if (c === "\n") {
        if (inString) throw fail("a string is not closed before the end of the line");
        line++;
        continue;
      }
      if (inString) {
        if (escaped) escaped = false;
        else if (c === "\\") escaped = true;
        else if (c === '"') inString = false;
        continue;
      }
      if (c === " " || c === "\t" || c === "\r") continue;
      if (closed) throw fail(`${JSON.stringify(text.slice(i, i + 20))} after the end of the JSON array`);
      const separates = depth === 1 && (c === "," || c === "]");
      if (separates) {
        if (current) yield { ...current, text: current.text + text.slice(from, i) };
        current = undefined;
      } else if (depth === 1 && current === undefined) {
        current = { text: "", line };
        from = i;
      }
      if (c === '"') inString = true;
      else if (c === "[" || c === "{") depth++;
      else if (c === "]" || c === "}") depth--;
      if (depth === 0) closed = true;
    }
    if (current) current.text += text.slice(from);
    if (current) checkLength(current.text.length, { name, line: current.line, what: "row" });
  }
  if (inString) throw fail("a string is not closed before the end of the line");
  if (!closed) throw fail("the JSON array is not closed; the file is cut off");
}
