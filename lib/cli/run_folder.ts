/**
 * The folder a training run writes to: runs/<name>-<n> unless the user names one. Held against a second process while
 * the run lasts, and never one that holds an earlier run. A folder made for a run that could not start is removed again.
 */
import { basename, join } from "node:path";
import { UserError } from "../errors.ts";
import { isPart } from "../files/atomic.ts";
import { fileError } from "../files/file_error.ts";
import { makeFolder } from "../files/folder.ts";
import { lockFolder } from "../files/lock.ts";
import { kindOfPath } from "../model/model_files.ts";
import { type LogLine, readLog } from "../train/log.ts";

export interface RunFolder {
  path: string;
  /** Gives the folder free; removes it when this call made it and nothing was written. */
  release(): void;
}

/** Where each thing of a run lies. */
export const runFiles = {
  config: "config.yaml",
  log: "log.jsonl",
  curve: "loss.svg",
  adapter: "adapter",
  checkpoints: "checkpoints",
} as const;

/** The log of a run; no lines where it has none yet. */
export function runLog(folder: string): LogLine[] {
  const path = join(folder, runFiles.log);
  return kindOfPath(path) === "file" ? readLog(path) : [];
}

/** A new run's folder. `name` is used when `outputDir` is null. Throws UserError when it is in use or not writable. */
export function makeRunFolder({ outputDir, name }: { outputDir: string | null; name: string }): RunFolder {
  if (outputDir === null) return hold(nextFolder("runs", name), { made: true });
  const made = !entriesOf(outputDir);
  if (made) makeFolder(outputDir);
  const folder = hold(outputDir, { made });
  try {
    // Looked at under the lock, and beside what a killed process left before it had anything to keep.
    const earlier = entriesOf(outputDir)?.filter((entry) => entry !== ".lock" && !isPart(entry)) ?? [];
    if (earlier.length > 0) throw inUse(outputDir, earlier);
  } catch (error) {
    folder.release();
    throw error;
  }
  return folder;
}

function inUse(folder: string, entries: string[]): UserError {
  const isRun = entries.includes(runFiles.config);
  return new UserError(
    `Output folder in use: ${folder} holds ${isRun ? "an earlier run" : "other files"} (${entries[0]})`,
    {
      hint: isRun
        ? `choose another --output-dir, or continue that run with ftl train --resume ${folder}`
        : "choose a new or empty folder with --output-dir",
    },
  );
}

/** Whether a message, of this file or of the lock's, says that a folder was another process's first. */
export function saysTaken(message: string): boolean {
  return / is writing to it$|Output folder in use: /.test(message);
}

/** The folder of an earlier run that is to be continued. */
export function reopenRunFolder(path: string): RunFolder {
  if (!isRunFolder(path)) {
    throw new UserError(`Cannot resume ${path}: it is not a run folder, it has no ${runFiles.config}`, {
      hint: "give the folder that an interrupted ftl train named, such as runs/smollm2-135m-1",
    });
  }
  return hold(path, { made: false });
}

/** "smollm2-135m", "models/Llama 3/model.gguf" -> "model" */
export function runName(model: string): string {
  const name = basename(model.replace(/[\\/]+$/, "")).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, "").replace(
    /[^\w.-]+/g,
    "-",
  ).toLowerCase();
  return name || "run";
}

/** Whether a path is a run's folder. */
export function isRunFolder(path: string): boolean {
  return kindOfPath(join(path, runFiles.config)) === "file";
}

/** The first free number; two processes at once get different ones, since making a folder that exists fails. */
function nextFolder(parent: string, name: string): string {
  if (!entriesOf(parent)) makeFolder(parent);
  for (let n = 1;; n++) {
    const path = join(parent, `${name}-${n}`);
    try {
      Deno.mkdirSync(path);
      return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw fileError(error, { action: "make the folder", path });
    }
  }
}

function hold(path: string, { made }: { made: boolean }): RunFolder {
  const lock = lockFolder(path);
  return {
    path,
    release() {
      lock.release();
      if (!made) return;
      try {
        Deno.removeSync(path);
      } catch {
        // Something is in it, or the disk that refused the run refuses this too.
      }
    },
  };
}

/** Names in a folder, undefined when there is none. */
function entriesOf(path: string): string[] | undefined {
  try {
    return [...Deno.readDirSync(path)].map((entry) => entry.name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw fileError(error, { action: "use the folder", path });
  }
}
