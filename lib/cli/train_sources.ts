/** Where the settings of a training run come from: its flags, and the YAML file that they stand over. */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { kindOfPath, readText } from "../model/model_files.ts";
import type { CommandLine } from "./command_line.ts";
import type { Sources } from "./resolve.ts";
import { runFiles } from "./run_folder.ts";

/** Flags, and the YAML file they stand over: the one named, or the one of the run to be resumed. */
export function sourcesOf(line: CommandLine): Sources {
  const { flags, problems, positional } = line;
  const resume = flags.resume as string | undefined;
  if (resume !== undefined && positional.length > 0) {
    throw new UserError("--resume takes its settings from the run folder; leave the file out", { exitCode: 2 });
  }
  const path = resume === undefined ? positional[0] : join(resume, runFiles.config);
  // What looks like a file may be the value of a flag that is reported as unknown.
  const readable = path !== undefined && (problems.length === 0 || kindOfPath(path) === "file");
  return { flags, problems, file: readable ? { text: readText(path), name: path } : undefined };
}
