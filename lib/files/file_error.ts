/** What the operating system said about a file, as a message with a hint. Used by everything in this folder. */
import { UserError } from "../errors.ts";

/**
 * `error` as a UserError where its cause is the user's to change; anything else comes back as it is.
 * `action` completes "Cannot ...", for example "read".
 */
export function fileError(error: unknown, options: { action: string; path: string }): unknown {
  if (!(error instanceof Error) || error instanceof UserError) return error;
  const cause = causeOf(error);
  if (!cause) return error;
  return new UserError(`Cannot ${options.action} ${options.path}: ${cause.what}`, { hint: cause.hint, cause: error });
}

function causeOf(error: Error): { what: string; hint: string } | undefined {
  const code = (error as { code?: string }).code;
  const is = (name: string) => code === name || error.message.includes(`(${name})`);
  const osError = /\(os error (\d+)\)/.exec(error.message)?.[1];
  if (error instanceof Deno.errors.NotFound || is("ENOENT")) {
    return { what: "no such file or directory", hint: "Check the path; relative paths start at the current folder." };
  }
  if (error instanceof Deno.errors.AlreadyExists || is("EEXIST")) {
    return { what: "it exists already", hint: "Choose another name or remove it." };
  }
  if (error instanceof Deno.errors.IsADirectory || is("EISDIR") || osError === "21") {
    return { what: "it is a directory", hint: "Name a file." };
  }
  if (error instanceof Deno.errors.NotADirectory || is("ENOTDIR") || osError === "20") {
    return { what: "part of the path is a file", hint: "Check the path." };
  }
  if (is("ENOSPC") || osError === "28" || osError === "112") {
    return { what: "the disk is full", hint: "Free some space or choose a folder on another disk, then run it again." };
  }
  if (is("EDQUOT") || osError === "122") {
    return { what: "your disk quota is used up", hint: "Free some space or choose another folder, then run it again." };
  }
  if (is("EROFS") || osError === "30") {
    return { what: "the file system is read-only", hint: "Choose a folder on another disk." };
  }
  if (is("EIO") || osError === "5") {
    return { what: "the disk reports an input/output error", hint: "Check the disk; another one is safer for now." };
  }
  if (is("EFBIG") || osError === "27") {
    return { what: "the file system allows no file this large", hint: "Choose a folder on another disk." };
  }
  if (error instanceof Deno.errors.NotCapable) {
    // Deno opens system folders only to a program with every right, and ftl has given up the network.
    return {
      what: "programs without the network have no right to it",
      hint: "Choose a folder outside /dev and /proc.",
    };
  }
  if (is("ESPIPE") || osError === "29") {
    return { what: "it is a pipe, not a file", hint: "Save it as a file first, and name that." };
  }
  if (error instanceof Deno.errors.PermissionDenied || is("EACCES") || is("EPERM")) {
    return { what: "permission denied", hint: "Change the permissions or choose another folder." };
  }
  return undefined;
}
