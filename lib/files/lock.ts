/**
 * One writer per folder: an operating-system lock on `.lock` inside it. The system drops the lock when its process
 * ends, however it ends, so a lock never outlives its owner, on this host or another that shares the file system; the
 * text in the file only names the owner in messages.
 */
import { UserError } from "../errors.ts";
import { fileError } from "./file_error.ts";

const fileName = ".lock";

/** Locks a folder that exists. UserError, at once, when another process (or this one) holds it. */
export function lockFolder(dir: string): { release(): void } {
  const path = `${dir}/${fileName}`;
  let file = openLocked(dir, path);
  while (!isStillAt(path, file)) {
    // Its last owner removed the file between our opening and our locking it.
    file.close();
    file = openLocked(dir, path);
  }
  try {
    file.truncateSync();
    file.writeSync(new TextEncoder().encode(`process ${Deno.pid} on ${Deno.hostname()} since ${now()}\n`));
  } catch {
    // The lock holds; a full disk only keeps its owner's name from others.
  }
  let held = true;
  return {
    release() {
      if (!held) return;
      held = false;
      try {
        Deno.removeSync(path);
      } catch {
        // An unlocked file that stays behind does no harm.
      }
      file.close();
    },
  };
}

function openLocked(dir: string, path: string): Deno.FsFile {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true, write: true, create: true });
  } catch (error) {
    throw fileError(error, { action: "use the folder", path: dir });
  }
  let locked = false;
  try {
    locked = file.tryLockSync(true);
  } catch (error) {
    file.close();
    throw new UserError(`Cannot lock ${path}: ${(error as Error).message}`, {
      hint: "Choose a folder on a local disk: this file system has no locks.",
      cause: error,
    });
  }
  if (locked) return file;
  const owner = readOwner(file);
  file.close();
  throw new UserError(`Cannot use the folder ${dir}: ${owner} is writing to it`, {
    hint: "Wait until it has finished, stop it, or choose another folder.",
  });
}

/** "2026-01-31T12:00:00Z" */
const now = () => new Date().toISOString().replace(/\.\d+/, "");

/** What the holder wrote, one line; on Windows a locked file cannot be read. */
function readOwner(file: Deno.FsFile): string {
  try {
    const bytes = new Uint8Array(200), length = file.readSync(bytes) ?? 0;
    return new TextDecoder().decode(bytes.subarray(0, length)).split("\n")[0] || "another process";
  } catch {
    return "another process";
  }
}

/** Whether `path` still names the open file (always, where files have no numbers). */
export function isStillAt(path: string, file: Deno.FsFile): boolean {
  try {
    return Deno.statSync(path).ino === file.statSync().ino;
  } catch {
    return false;
  }
}
