/** What the disk under a cache says: how much is free, and its refusals as messages that say what to do. */
import { UserError } from "../errors.ts";
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

/** `error` as a UserError where it is the disk's; anything else comes back as it is. */
export function diskError(error: unknown, { folder, setting }: { folder: string; setting: string }): unknown {
  if (!(error instanceof Error) || error instanceof UserError) return error;
  const readOnly = /EROFS|Read-only file system|os error 30\b/i.test(error.message);
  if (readOnly || error instanceof Deno.errors.PermissionDenied) {
    return new UserError(`No permission to write in ${folder}`, {
      hint: `Set ${setting} to a folder you may write to`,
    });
  }
  if (/ENOSPC|No space left|os error 28\b|EDQUOT|os error 122\b|os error 112\b/i.test(error.message)) {
    return new UserError(`Disk full while writing in ${folder}`, {
      hint: `Free some space, or set ${setting} to a folder on another disk`,
    });
  }
  if (error instanceof Deno.errors.NotADirectory || error instanceof Deno.errors.AlreadyExists) {
    return new UserError(`Cannot use ${folder} as a cache: part of the path is a file`, {
      hint: `Set ${setting} to a folder`,
    });
  }
  return error;
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
