/**
 * A file's bytes as text, in pieces, whatever its encoding: UTF-8 or UTF-16, with or without a mark, gzip around it.
 * Nothing is held but the piece in hand, so that files may be larger than the memory. Bytes that are not UTF-8 become
 * U+FFFD, which clean.ts finds in its row. Knows nothing of rows.
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "../formats/byte_source.ts";

/** A piece of the file and the line it begins on, counted from 1. */
export interface Piece {
  text: string;
  line: number;
}

/** Bytes read at a time; few of gzip's, which may unpack to a thousand times as many. */
const chunkBytes = 1 << 20, packedBytes = 1 << 12;
/** Longest line, or element of a JSON array, in UTF-16 units. */
export const longestPiece = 1 << 24;

/** Errors: UserError for damaged gzip data, and for a file that is not text. */
export async function* textOf(source: ByteSource): AsyncGenerator<string> {
  let decoder: TextDecoder | undefined;
  for await (const bytes of unpacked(source)) {
    decoder ??= new TextDecoder(encodingOf(bytes, source.name));
    yield decoder.decode(bytes, { stream: true });
  }
  if (decoder) yield decoder.decode();
}

/** Lines without their ends. Errors: UserError for a line that is too long to be one. */
export async function* linesOf(texts: AsyncIterable<string>, name: string): AsyncGenerator<Piece> {
  let line = 1, rest = "";
  for await (const text of texts) {
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      const whole = rest + text.slice(start, end);
      yield { text: whole.endsWith("\r") ? whole.slice(0, -1) : whole, line };
      [rest, start] = ["", end + 1];
      line++;
    }
    rest += text.slice(start);
    checkLength(rest.length, { name, line, what: "line" });
  }
  yield { text: rest, line };
}

/** Throws UserError for a piece that would not fit into memory. */
export function checkLength(length: number, { name, line, what }: { name: string; line: number; what: string }): void {
  if (length <= longestPiece) return;
  throw new UserError(`${name}:${line}: a ${what} of more than ${longestPiece} characters`, {
    hint: "Cut it into several rows; longer than max_length it could not be learnt anyway.",
  });
}

/** The same texts, the first one that is not blank being known: `beginning`. */
export async function peek(
  texts: AsyncGenerator<string>,
): Promise<{ beginning: string; texts: AsyncGenerator<string> }> {
  const seen: string[] = [];
  let beginning = "";
  for (;;) {
    const { value, done } = await texts.next();
    if (done) break;
    seen.push(value);
    beginning = value.trimStart();
    if (beginning !== "") break;
  }
  async function* again() {
    yield* seen;
    yield* texts;
  }
  return { beginning, texts: again() };
}

async function* unpacked(source: ByteSource): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const gzip = source.size >= 2 && source.read(0, 2).every((byte, i) => byte === [0x1f, 0x8b][i]);
  if (!gzip) return yield* chunksOf(source);
  const chunks = chunksOf(source, packedBytes);
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const { value, done } = chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  try {
    yield* stream.pipeThrough(new DecompressionStream("gzip"));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${source.name}: damaged gzip data: ${(error as Error).message}`, {
      hint: "Fetch or copy the file again.",
      cause: error,
    });
  }
}

function* chunksOf(source: ByteSource, bytes = chunkBytes): Generator<Uint8Array<ArrayBuffer>> {
  for (let offset = 0; offset < source.size; offset += bytes) {
    yield source.read(offset, Math.min(bytes, source.size - offset)) as Uint8Array<ArrayBuffer>;
  }
}

/** By the mark at the beginning, else by where the zeros of UTF-16 stand. Errors: UserError for zeros anywhere else. */
function encodingOf(bytes: Uint8Array, name: string): string {
  const mark = (bytes[0] << 8) | bytes[1];
  if (mark === 0xfffe) return "utf-16le";
  if (mark === 0xfeff) return "utf-16be";
  const zeros = [0, 0], head = bytes.subarray(0, 4096);
  head.forEach((byte, i) => zeros[i % 2] += byte === 0 ? 1 : 0);
  if (zeros[0] + zeros[1] === 0) return "utf-8";
  if (zeros[0] === 0 && zeros[1] > head.length / 4) return "utf-16le";
  if (zeros[1] === 0 && zeros[0] > head.length / 4) return "utf-16be";
  throw new UserError(`${name}: binary data, not text: byte ${head.indexOf(0)} is 0`, {
    hint: "Give rows as .jsonl, .json, .csv, .tsv, .parquet or .xlsx, or documents as .txt or .md.",
  });
}
