/** What the disk under a cache says: how much is free, and its refusals as messages that say what to do. */
import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { inUnits } from "../files/space.ts";

/** Throws UserError when `needed` bytes do not fit; `setting` names the variable that moves the folder. */
export function checkSpace(
  needed: number,
  { what, folder, setting, free }: { what: string; folder: string; setting: string; free: number | undefined },
): void {
  if (free === undefined || needed <= free) return;
  throw new UserError(`${what} needs ${inUnits(needed)} more in ${folder}, and ${inUnits(free)} are free`, {
    hint: `Free some space (ftl models lists what is cached), or set ${setting} to a folder on another disk`,
  });
}

/** `error` as a UserError where it is the disk's; anything else comes back as it is. `setting` moves the folder. */
export function diskError(error: unknown, { folder, setting }: { folder: string; setting: string }): unknown {
  return fileError(error, { action: "write in", path: folder, elsewhere: `set ${setting} to a folder` });
}

/** A file to be read from its beginning. Errors: UserError, also while it is read. */
export function openToRead(
  path: string,
): { read(buffer: Uint8Array): Promise<number | null>; size: number } & Disposable {
  const guard = (error: unknown) => fileError(error, { action: "read", path });
  try {
    const file = Deno.openSync(path);
    return {
      size: file.statSync().size,
      read: (buffer) => file.read(buffer).catch((error) => Promise.reject(guard(error))),
      [Symbol.dispose]: () => file.close(),
    };
  } catch (error) {
    throw guard(error);
  }
}

export function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch {
    // Gone already, or left for the next sweep.
  }
}

/** Whether a path is there, links followed. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
