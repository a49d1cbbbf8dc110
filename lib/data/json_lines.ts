/**
 * Cuts a file's content into lines, and a JSON array into its elements, keeping line numbers (from 1) and reporting bytes
 * that are not UTF-8. Knows nothing of rows.
 */
import { UserError } from "../errors.ts";
import type { CleaningNote } from "./rows.ts";

/** A piece of the file and the line it begins on. */
export interface Piece {
  text: string;
  line: number;
}

/**
 * Lines without their ends. Lines with bytes that are not UTF-8 are left out, with a note. A UTF-16 file with byte order
 * mark is understood; a BOM is dropped.
 */
export function splitLines(
  content: string | Uint8Array,
  options: { source: string; notes: CleaningNote[] },
): Piece[] {
  if (typeof content === "string") return linesOf(content);
  const mark = (content[0] << 8) | content[1];
  if (content.length >= 2 && (mark === 0xfffe || mark === 0xfeff)) {
    return linesOf(new TextDecoder(mark === 0xfffe ? "utf-16le" : "utf-16be").decode(content));
  }
  try {
    return linesOf(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch {
    return linesOfBrokenBytes(content, options);
  }
}

function linesOf(text: string): Piece[] {
  return text.replace(/^\uFEFF/, "").split(/\r?\n/).map((line, i) => ({ text: line, line: i + 1 }));
}

function linesOfBrokenBytes(bytes: Uint8Array, options: { source: string; notes: CleaningNote[] }): Piece[] {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const lines: Piece[] = [];
  for (let start = 0, line = 1; start < bytes.length; line++) {
    let end = bytes.indexOf(0x0a, start);
    if (end < 0) end = bytes.length;
    try {
      lines.push({ text: decoder.decode(bytes.subarray(start, end)).replace(/\r$/, ""), line });
    } catch {
      options.notes.push({ source: options.source, line, what: "bytes that are not UTF-8", action: "dropped" });
    }
    start = end + 1;
  }
  return lines;
}

/** Elements of the JSON array that the lines make up. Errors: UserError with the line where the array goes wrong. */
export function splitElements(lines: Piece[], source: string): Piece[] {
  const elements: Piece[] = [];
  const fail = (line: number, what: string) =>
    new UserError(`${source}:${line}: ${what}`, { hint: "Correct the JSON array, or write one JSON object per line." });
  let depth = 0, inString = false, escaped = false, closed = false;
  let current: { parts: string[]; line: number } | undefined;
  const finish = () => {
    if (current && current.parts.join("").trim() !== "") {
      elements.push({ text: current.parts.join(""), line: current.line });
    }
    current = undefined;
  };
  for (const { text, line } of lines) {
    let from = 0;
    for (let i = 0; i < text.length; i++) {
      const c = text[i];
      if (inString) {
        if (escaped) escaped = false;
        else if (c === "\\") escaped = true;
        else if (c === '"') inString = false;
        continue;
      }
      if (c === " " || c === "\t" || c === "\r") continue;
      if (closed) throw fail(line, `${JSON.stringify(text.slice(i, i + 20))} after the end of the JSON array`);
      const separates = depth === 1 && (c === "," || c === "]");
      if (separates) {
        current?.parts.push(text.slice(from, i));
        finish();
      } else if (depth === 1 && current === undefined) {
        current = { parts: [], line };
        from = i;
      }
      if (c === '"') inString = true;
      else if (c === "[" || c === "{") depth++;
      else if (c === "]" || c === "}") depth--;
      if (depth === 0) closed = true;
    }
    if (inString) throw fail(line, "a string is not closed before the end of the line");
    current?.parts.push(text.slice(from) + "\n");
  }
  if (!closed) throw fail(lines.at(-1)?.line ?? 1, "the JSON array is not closed; the file is cut off");
  return elements;
}
