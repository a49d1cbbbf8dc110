/**
 * Fetches files of a hub into blobs: large ones in pieces, several requests at once, each going on where it was cut.
 * What is there lies in `<digest>.ftl.incomplete` with a note beside it of how far each piece came, so that the next
 * process goes on too. A blob gets its name only when its digest is right.
 *
 * @huggingface/hub's own downloads are not used for this: its WebBlob takes a 200 answer to a range for the range,
 * turns every failure into a text, and neither resumes nor checks; and its Xet client decodes on this one thread what
 * the hub gives as plain bytes with ranges at the same address.
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { removeQuietly } from "./disk.ts";
import { digestOf } from "./hub_cache.ts";
import { fileUrl, type ListedFile } from "./listing.ts";
import { type Asking, askOnce, givenUp, PassingError, pauseAfter, reasonOf } from "./request.ts";

export interface Transfer {
  asking: Asking;
  commit: string;
  blobs: string;
  /** Bytes that are new, while they come; and, when all have come, bytes whose digest was computed. */
  progress(phase: "download" | "check", bytes: number): void;
}

/** A file under way. */
interface Part {
  file: ListedFile;
  /** Where its bytes gather, and the note beside them. */
  path: string;
  note: string;
  /** Bytes of a piece, and how many of each are there. */
  pieceBytes: number;
  done: number[];
  /** Pieces that are not whole yet. */
  left: number;
  open?: Deno.FsFile;
  /** When the note was written. */
  noted: number;
}

/** Of one file, however large a listing says it is. */
const mostPieces = 10_000;

const pieceEnd = ({ file, pieceBytes }: Part, i: number) => Math.min(file.size, (i + 1) * pieceBytes);

/** Bytes of a file that earlier attempts left. */
export function bytesThere(file: ListedFile, blobs: string): number {
  return readPart(file, { blobs, pieceBytes: Infinity }).done.reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Fetches files with different digests. Throws UserError when the hub gives up, a digest is wrong or the disk refuses;
 * what came so far is kept.
 */
export async function fetchFiles(files: ListedFile[], transfer: Transfer): Promise<void> {
  const { connections, pieceBytes } = transfer.asking.tuning;
  const stop = new AbortController();
  const signals = [stop.signal, transfer.asking.signal].filter((one) => one !== undefined);
  const asking = { ...transfer.asking, signal: AbortSignal.any(signals) };
  const parts = files.map((file) => readPart(file, { blobs: transfer.blobs, pieceBytes }));
  const jobs = parts.flatMap((part) => part.done.map((_, i) => ({ part, i })));
  let next = 0, left = jobs.length, failure: { error: unknown } | undefined;
  const work = async () => {
    while (next < jobs.length && !asking.signal.aborted) {
      const { part, i } = jobs[next++];
      await fetchPiece(part, i, { ...transfer, asking });
      left--;
      if (--part.left > 0) continue;
      await finish(part, { ...transfer, asking }, (bytes) => left === 0 && transfer.progress("check", bytes));
    }
  };
  const guarded = () =>
    work().catch((error) => {
      failure ??= { error };
      stop.abort();
    });
  try {
    await Promise.all(Array.from({ length: Math.min(connections, jobs.length) }, guarded));
  } finally {
    for (const part of parts) {
      close(part);
      if (part.done.every((bytes) => bytes === 0)) discard(part);
    }
  }
  transfer.asking.signal?.throwIfAborted();
  if (failure) throw failure.error;
}

/** What an earlier attempt left of a file, where its note and its bytes agree; otherwise a beginning. */
function readPart(file: ListedFile, { blobs, pieceBytes }: { blobs: string; pieceBytes: number }): Part {
  const path = join(blobs, `${file.digest}.ftl.incomplete`), note = `${path}.json`;
  const begin = (bytes: number): Part => {
    const piece = Math.max(bytes, Math.ceil(file.size / mostPieces));
    const pieces = Math.max(1, Math.ceil(file.size / piece)); // an empty file has one, empty
    return { file, path, note, pieceBytes: piece, done: new Array(pieces).fill(0), left: pieces, noted: 0 };
  };
  try {
    const { size, piece, done } = JSON.parse(Deno.readTextFileSync(note));
    if (size !== file.size || !Number.isSafeInteger(piece) || piece < 1) return begin(pieceBytes);
    const part = begin(piece), there = Deno.statSync(path).size;
    const good = Array.isArray(done) && done.length === part.done.length &&
      done.every((bytes, i) =>
        Number.isSafeInteger(bytes) && bytes >= 0 && i * piece + bytes <= pieceEnd(part, i) &&
        (bytes === 0 || i * piece + bytes <= there)
      );
    return good ? { ...part, done } : begin(pieceBytes);
  } catch {
    return begin(pieceBytes);
  }
}

/** Brings a piece to its end, asking again from where a connection broke. */
async function fetchPiece(part: Part, i: number, transfer: Transfer): Promise<void> {
  const { asking } = transfer;
  const missing = () => pieceEnd(part, i) - i * part.pieceBytes - part.done[i];
  for (let failures = 0; missing() > 0 || part.file.size === 0;) {
    const before = part.done[i];
    try {
      await readPiece(part, i, transfer);
      if (part.file.size === 0) return;
    } catch (error) {
      asking.signal?.throwIfAborted();
      if (!(error instanceof PassingError)) throw error;
      failures = part.done[i] > before ? 1 : failures + 1;
      const kept = `; what came so far of ${asking.repo} is kept`;
      if (failures >= asking.tuning.tries) throw givenUp(error, asking, kept);
      await pauseAfter(error, failures, asking);
    } finally {
      writeNote(part);
    }
  }
}

/** One request for the rest of a piece, written as it comes. PassingError when it ends early. */
async function readPiece(part: Part, i: number, { asking, commit, progress }: Transfer): Promise<void> {
  const { file } = part;
  part.open ??= Deno.openSync(part.path, { write: true, create: true });
  const end = pieceEnd(part, i), start = i * part.pieceBytes + part.done[i];
  if (end === 0) return;
  const all = start === 0 && end === file.size;
  const stalled = new AbortController();
  const response = await askOnce(fileUrl(file.path, commit, asking), {
    headers: all ? {} : { range: `bytes=${start}-${end - 1}` },
    signal: stalled.signal,
  }, asking);
  const body = response.body!;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const given = response.headers.get("content-range")?.replace(/\*$/, `${file.size}`);
    if (!all && (response.status !== 206 || given !== `bytes ${start}-${end - 1}/${file.size}`)) {
      throw new UserError(`${new URL(response.url).host} does not give parts of ${file.path} as it is asked to`, {
        hint: "A proxy or mirror on the way ignores Range: go round it, or set HF_ENDPOINT to another mirror",
      });
    }
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), asking.tuning.stallMs);
    };
    watch();
    const reader = body.getReader();
    for (let at = start; at < end;) {
      const { done, value } = await reader.read().catch((error) => {
        asking.signal?.throwIfAborted();
        const silent = `no byte in ${asking.tuning.stallMs / 1000} s`;
        throw new PassingError(stalled.signal.aborted ? silent : reasonOf(error));
      });
      if (done) throw new PassingError("the connection ended early");
      watch();
      const bytes = value.subarray(0, end - at);
      // Seek and write follow each other without a wait between them, so pieces can share the file.
      part.open.seekSync(at, Deno.SeekMode.Start);
      for (let written = 0; written < bytes.length;) written += part.open.writeSync(bytes.subarray(written));
      at += bytes.length;
      part.done[i] += bytes.length;
      progress("download", bytes.length);
      if (performance.now() - part.noted > 1000) writeNote(part);
    }
    await reader.cancel();
  } finally {
    clearTimeout(timer);
    if (!body.locked) await body.cancel().catch(() => {});
  }
}

/** Checks a file whose bytes have all come, and gives it its name. */
async function finish(part: Part, transfer: Transfer, progress: (bytes: number) => void): Promise<void> {
  const { asking, blobs } = transfer, { path, digest } = part.file;
  await part.open?.sync();
  close(part);
  const found = await digestOf(part.path, { like: digest, signal: asking.signal, progress });
  if (found !== digest) {
    discard(part);
    const name = digest.length === 64 ? "sha256" : "git id";
    throw new UserError(`Wrong checksum of ${path} of ${asking.repo}: expected ${name} ${digest}, got ${found}`, {
      hint: "Its bytes were thrown away: run it again; if it stays wrong, something on the way changes files",
    });
  }
  Deno.renameSync(part.path, join(blobs, digest));
  removeNote(part);
}

function writeNote(part: Part): void {
  if (!part.open) return;
  part.noted = performance.now();
  // Not forced to disk, and so not before the bytes it counts: after a power cut the digest judges what is there.
  const temporary = temporaryOf(part), note = { size: part.file.size, piece: part.pieceBytes, done: part.done };
  try {
    Deno.writeTextFileSync(temporary, JSON.stringify(note));
    Deno.renameSync(temporary, part.note);
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
}

const temporaryOf = ({ note }: Part) => `${note}.tmp`;

function removeNote(part: Part): void {
  removeQuietly(part.note);
  removeQuietly(temporaryOf(part));
}

function discard(part: Part): void {
  removeQuietly(part.path);
  removeNote(part);
}

function close(part: Part): void {
  part.open?.close();
  part.open = undefined;
}
