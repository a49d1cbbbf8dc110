/** What the disk under a cache says: how much is free, and its refusals as messages that say what to do. */
import { statfsSync } from "node:fs";
import { UserError } from "../errors.ts";

/** Bytes that this user may still write where `folder` is; undefined where the system does not tell. */
export function freeBytes(folder: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

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

/** 98,362,432 -> "98.4 MB" */
export function inUnits(bytes: number): string {
  const [unit, name] = bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"] as const;
  return `${(bytes / unit).toFixed(1)} ${name}`;
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
