/**
 * Writing a file so that its name never shows half of it: the bytes go to a temporary name beside it, are forced to
 * disk, and the rename comes last. A crash leaves the old file, or the new one, and at worst a `.part` file, which the
 * next writer into that folder removes: a writer holds a lock on its part, so one without is nobody's.
 */
import { fileError } from "./file_error.ts";
import { isStillAt } from "./lock.ts";

/** Writes `chunks` one after the other; they may be produced lazily. UserError for a full disk and the like. */
export function writeAtomic(path: string, chunks: Iterable<Uint8Array> | Uint8Array): void {
  writeAllAtomic([{ path, chunks: chunks instanceof Uint8Array ? [chunks] : chunks }]);
}

/** The same for text, as UTF-8. */
export function writeTextAtomic(path: string, text: string): void {
  writeAtomic(path, new TextEncoder().encode(text));
}

/**
 * Files that belong together: none appears before all are written. The first, without which the others are nothing, is
 * taken away before they are replaced and gets its name last, so that old and new ones are never taken for one set.
 */
export function writeAllAtomic(files: readonly { path: string; chunks: Iterable<Uint8Array> }[]): void {
  const parts: ReturnType<typeof openPart>[] = [];
  try {
    for (const { path, chunks } of files) {
      const part = openPart(path);
      parts.push(part);
      for (const chunk of chunks) part.write(chunk);
      part.finish();
    }
    if (parts.length > 1) removeFile(files[0].path);
    for (const part of parts.toReversed()) part.appear();
  } catch (error) {
    for (const part of parts) part.abandon();
    throw error;
  }
}

/** New files that grow side by side, from a producer that may wait between writes: all of them, or none. */
export async function writeAtomicStreams(
  paths: readonly string[],
  produce: (writes: ((bytes: Uint8Array) => void)[]) => void | Promise<void>,
): Promise<void> {
  const parts: ReturnType<typeof openPart>[] = [];
  try {
    for (const path of paths) parts.push(openPart(path));
    await produce(parts.map(({ write }) => write));
    for (const part of parts) part.finish();
    for (const part of parts) part.appear();
  } catch (error) {
    for (const part of parts) part.takeBack();
    throw error;
  }
}

/** UserError where a file could not be written: to be known before the work whose result it shall hold. */
export function requireWritable(path: string): void {
  if (isFolder(path)) throw fileError(new Deno.errors.IsADirectory(), { action: "write", path });
  openPart(path).abandon();
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** Removes a file, where it is there. UserError when the system refuses. */
export function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw fileError(error, { action: "remove", path });
  }
}

/** What temporary names end in: a process, and a number in it. */
const partName = /\.\d+-\d+\.part$/;

/** Whether a name is that of a file half-written. */
export const isPart = (name: string) => partName.test(name);

/** Removes what killed writers left in a folder: parts that nobody has locked. Never throws. */
export function removeLeftovers(folder: string): void {
  for (const name of partsIn(folder)) {
    try {
      using file = Deno.openSync(`${folder}/${name}`, { read: true, write: true });
      if (file.tryLockSync(true)) Deno.removeSync(`${folder}/${name}`);
    } catch {
      // Gone meanwhile, not ours to remove, or on a file system without locks: it stays.
    }
  }
}

function partsIn(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), ({ name }) => name).filter(isPart);
  } catch {
    return [];
  }
}

/** A number per process and file, so that two writers of one path never share a temporary name. */
let parts = 0;

/** A temporary file beside `path`. Only errors of the file itself become UserErrors, not the producer's. */
function openPart(path: string) {
  removeLeftovers(folderOf(path));
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw fileError(error, { action: "write", path });
    }
  };
  const { temporary, file } = guard(() => openLocked(path));
  let open = true, appeared = false;
  const close = () => {
    if (open) file.close();
    open = false;
  };
  const takeAway = (name: string) => {
    try {
      Deno.removeSync(name);
    } catch {
      // The failure that led here is the one to report.
    }
    close();
  };
  return {
    write(bytes: Uint8Array): void {
      guard(() => {
        for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
      });
    },
    /** Forces the bytes to disk. */
    finish: () => guard(() => file.syncSync()),
    /** Gives the finished file its name. It is locked until then. */
    appear(): void {
      guard(() => {
        Deno.renameSync(temporary, path);
        appeared = true;
        close();
        syncFolder(folderOf(path));
      });
    },
    /** Removes it, unless it has its name. */
    abandon(): void {
      if (!appeared) takeAway(temporary);
    },
    /** Removes it, whatever its name is. */
    takeBack: () => takeAway(appeared ? path : temporary),
  };
}

/** A new temporary file, locked before anyone could take it for a leftover. */
function openLocked(path: string): { temporary: string; file: Deno.FsFile } {
  for (;;) {
    const temporary = `${path}.${Deno.pid}-${++parts}.part`;
    const file = Deno.openSync(temporary, { write: true, createNew: true });
    try {
      file.lockSync(true);
    } catch {
      return { temporary, file }; // Without locks nothing is ever taken for a leftover.
    }
    if (isStillAt(temporary, file)) return { temporary, file };
    file.close();
  }
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1) || ".";
}

/** Forces the rename itself to disk, where folders can be opened (not on Windows). */
function syncFolder(folder: string): void {
  try {
    using handle = Deno.openSync(folder, { read: true });
    handle.syncSync();
  } catch {
    // The data is safe under one name or the other; only the moment of the rename is not.
  }
}
