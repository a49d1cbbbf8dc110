/** What the operating system said about a file, as a message with a hint. Used by everything in this folder. */
import { UserError } from "../errors.ts";

/**
 * `error` as a UserError where its cause is the user's to change; anything else comes back as it is.
 * `action` completes "Cannot ...", for example "read"; `elsewhere` says how another folder is taken.
 */
export function fileError(
  error: unknown,
  { action, path, elsewhere = "choose a folder" }: { action: string; path: string; elsewhere?: string },
): unknown {
  if (!(error instanceof Error) || error instanceof UserError) return error;
  const cause = causes.find((one) => isOf(error, one));
  if (!cause) return error;
  const hint = typeof cause.hint === "string" ? cause.hint : cause.hint(elsewhere);
  return new UserError(`Cannot ${action} ${path}: ${cause.what}`, { hint, cause: error });
}

interface Cause {
  /** The system's names of it, its numbers on Linux and Windows, and Deno's class. */
  names: string[];
  numbers?: number[];
  kind?: new () => Error;
  what: string;
  hint: string | ((elsewhere: string) => string);
}

const onAnotherDisk = (elsewhere: string) => `${elsewhere[0].toUpperCase()}${elsewhere.slice(1)} on another disk.`;

/** The first that fits counts. */
const causes: Cause[] = [
  {
    ...{ names: ["ENOENT"], kind: Deno.errors.NotFound },
    what: "no such file or directory",
    hint: "Check the path; relative paths start at the current folder.",
  },
  {
    ...{ names: ["EEXIST"], kind: Deno.errors.AlreadyExists },
    what: "it exists already",
    hint: "Choose another name or remove it.",
  },
  {
    ...{ names: ["EISDIR"], numbers: [21], kind: Deno.errors.IsADirectory },
    what: "it is a directory",
    hint: "Name a file.",
  },
  {
    ...{ names: ["ENOTDIR"], numbers: [20], kind: Deno.errors.NotADirectory },
    what: "part of the path is a file",
    hint: "Check the path.",
  },
  {
    ...{ names: ["ELOOP"], numbers: [40], kind: Deno.errors.FilesystemLoop },
    what: "a link on the way leads back to itself",
    hint: "Check the path.",
  },
  { names: ["ENAMETOOLONG"], numbers: [36], what: "the name is too long", hint: "Choose a shorter one." },
  {
    ...{ names: ["ENOSPC"], numbers: [28, 112] },
    what: "the disk is full",
    hint: (elsewhere) => `Free some space or ${elsewhere} on another disk, then run it again.`,
  },
  {
    ...{ names: ["EDQUOT"], numbers: [122] },
    what: "your disk quota is used up",
    hint: (elsewhere) => `Free some space or ${elsewhere} on another disk, then run it again.`,
  },
  { names: ["EROFS"], numbers: [30], what: "the file system is read-only", hint: onAnotherDisk },
  {
    ...{ names: ["EIO"], numbers: [5] },
    what: "the disk reports an input/output error",
    hint: "Check the disk; another one is safer for now.",
  },
  { names: ["EFBIG"], numbers: [27], what: "the file system allows no file this large", hint: onAnotherDisk },
  {
    ...{ names: ["ENOTEMPTY"], numbers: [39] },
    what: "something is written into it meanwhile",
    hint: "Run it again when nothing else uses the folder.",
  },
  {
    ...{ names: ["EMFILE", "ENFILE"], numbers: [23, 24] },
    what: "too many files are open",
    hint: "Close other programs, or allow more files (ulimit -n).",
  },
  {
    // Deno opens system folders only to a program with every right, and ftl has given up the network.
    ...{ names: [], kind: Deno.errors.NotCapable },
    what: "programs without the network have no right to it",
    hint: "Choose a folder outside /dev and /proc.",
  },
  {
    ...{ names: ["ESPIPE"], numbers: [29] },
    what: "it is a pipe, not a file",
    hint: "Save it as a file first, and name that.",
  },
  {
    ...{ names: ["EACCES", "EPERM"], kind: Deno.errors.PermissionDenied },
    what: "permission denied",
    hint: (elsewhere) => `Change the permissions or ${elsewhere} where you have them.`,
  },
];

function isOf(error: Error, { names, numbers = [], kind }: Cause): boolean {
  const code = (error as { code?: string }).code, number = /\(os error (\d+)\)/.exec(error.message)?.[1];
  if (kind && error instanceof kind) return true;
  return names.some((name) => code === name || error.message.includes(`(${name})`)) || numbers.includes(Number(number));
}
