/**
 * Writing a file so that its name never shows half of it: the bytes go to a temporary name beside it, are forced to
 * disk, and the rename comes last. A crash leaves the old file, or the new one, and at worst a `.part` file.
 */
import { fileError } from "./file_error.ts";

/** Writes `chunks` one after the other; they may be produced lazily. UserError for a full disk and the like. */
export function writeAtomic(path: string, chunks: Iterable<Uint8Array> | Uint8Array): void {
  writeAllAtomic([{ path, chunks: chunks instanceof Uint8Array ? [chunks] : chunks }]);
}

/** The same for text, as UTF-8. */
export function writeTextAtomic(path: string, text: string): void {
  writeAtomic(path, new TextEncoder().encode(text));
}

/** Files that belong together: none appears before all are written. The first gets its name last. */
export function writeAllAtomic(files: readonly { path: string; chunks: Iterable<Uint8Array> }[]): void {
  const parts: ReturnType<typeof openPart>[] = [];
  try {
    for (const { path, chunks } of files) {
      const part = openPart(path);
      parts.push(part);
      for (const chunk of chunks) part.write(chunk);
      part.finish();
    }
    for (const part of parts.toReversed()) part.appear();
  } catch (error) {
    for (const part of parts) part.abandon();
    throw error;
  }
}

/** The same for a producer that may wait between writes. Nothing appears when it throws. */
export async function writeAtomicStream(
  path: string,
  produce: (write: (bytes: Uint8Array) => void) => void | Promise<void>,
): Promise<void> {
  const part = openPart(path);
  try {
    await produce(part.write);
    part.finish();
    part.appear();
  } catch (error) {
    part.abandon();
    throw error;
  }
}

/** A number per process and file, so that two writers of one path never share a temporary name. */
let parts = 0;

/** A temporary file beside `path`. Only errors of the file itself become UserErrors, not the producer's. */
function openPart(path: string) {
  const temporary = `${path}.${Deno.pid}-${++parts}.part`;
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw fileError(error, { action: "write", path });
    }
  };
  const file = guard(() => Deno.openSync(temporary, { write: true, createNew: true }));
  let open = true;
  const close = () => {
    if (open) file.close();
    open = false;
  };
  return {
    write(bytes: Uint8Array): void {
      guard(() => {
        for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
      });
    },
    /** Forces the bytes to disk. */
    finish(): void {
      guard(() => {
        file.syncSync();
        close();
      });
    },
    /** Gives the finished file its name. */
    appear(): void {
      guard(() => {
        Deno.renameSync(temporary, path);
        syncFolder(path);
      });
    },
    abandon(): void {
      try {
        close();
        Deno.removeSync(temporary);
      } catch {
        // The failure that led here is the one to report.
      }
    },
  };
}

/** Forces the rename itself to disk, where folders can be opened (not on Windows). */
function syncFolder(path: string): void {
  const folder = path.slice(0, path.lastIndexOf("/") + 1) || ".";
  try {
    const handle = Deno.openSync(folder, { read: true });
    try {
      handle.syncSync();
    } finally {
      handle.close();
    }
  } catch {
    // The data is safe under one name or the other; only the moment of the rename is not.
  }
}
