/** Room on the disk: how much there is, and a refusal before the work where it cannot be enough. */
import { statfsSync } from "node:fs";
import { UserError } from "../errors.ts";

/** Bytes that this user may still write where `folder` is; undefined where the system does not tell. */
export function freeBytes(folder: string): number | undefined {
  try {
    const { bavail, bsize, blocks } = statfsSync(folder);
    return blocks > 0 ? bavail * bsize : undefined; // Some file systems of networks call themselves empty.
  } catch {
    return undefined;
  }
}

/** UserError where `bytes` more do not fit into the folder. `what` begins the sentence: "The adapter". */
export function requireSpace(
  folder: string,
  { bytes, what, hint }: { bytes: number; what: string; hint: string },
): void {
  const free = freeBytes(folder);
  if (free === undefined || bytes <= free) return;
  throw new UserError(`${what} needs ${inUnits(bytes)} in ${folder}, ${inUnits(free)} are free`, { hint });
}

/** 98,362,432 -> "98.4 MB" */
export function inUnits(bytes: number): string {
  const [unit, name] = bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"] as const;
  return `${(bytes / unit).toFixed(1)} ${name}`;
}
