/**
 * What a person may name as data: files, folders of data files or of documents, and the sample data sets, which travel
 * inside the program, so that they are there without its folder. Says which files are meant; reading them is lib/data's.
 */
import { basename, join } from "node:path";
import { UserError } from "../errors.ts";
import type { DataFiles } from "../data/dataset.ts";
import { dataEndings, textEndings } from "../data/read.ts";
import type { CleaningNote } from "../data/rows.ts";
import { fileError } from "../files/file_error.ts";
import { openFile } from "../files/file_source.ts";
import { type ByteSource, bytesSource } from "../formats/byte_source.ts";
import { kindOfPath } from "../model/model_files.ts";
import culturalQa16 from "../../data/cultural-qa-16.jsonl" with { type: "text" };
import culturalQaUnseen8 from "../../data/cultural-qa-unseen-8.jsonl" with { type: "text" };

const samples: Record<string, string> = {
  "data/cultural-qa-16.jsonl": culturalQa16,
  "data/cultural-qa-unseen-8.jsonl": culturalQaUnseen8,
};

/** Descriptions that libraries put beside data and models. */
const notData =
  /^(dataset_infos?|dataset_dict|state|package|deno|tokenizer|special_tokens_map|added_tokens|vocab|.*config|.*index)\.json$/i;
const ending = (endings: string[]) => new RegExp(`\\.(${endings.join("|")})(\\.gz)?$`, "i");
/** A part of a data set that is kept for evaluation, by its file's or folder's name. */
const heldBack = /(^|[^a-z])(test|validation|valid|val|dev|eval)([^a-z]|$)/i;

/** The files of a run: those to learn, and those to evaluate on, where there are any. */
export interface ChosenFiles {
  data: DataFiles;
  evaluation: DataFiles | null;
  /** Files that are left out. */
  notes: CleaningNote[];
}

/** Errors: UserError when something is not there, or a folder holds nothing to read. */
export function chooseFiles({ data, eval_data }: { data: string[]; eval_data: string[] }): ChosenFiles {
  const notes: CleaningNote[] = [];
  const evaluation = eval_data.length === 0 ? null : findDataFiles(eval_data, notes);
  return { data: findDataFiles(data, notes), evaluation, notes };
}

function findDataFiles(names: string[], notes: CleaningNote[]): DataFiles {
  const open = names.flatMap((name) => {
    if (kindOfPath(name) === "folder") return filesIn(name, notes).map((path) => () => openFile(path));
    return [() => openNamed(name)];
  });
  // Told at once, before anything large is loaded.
  for (const opener of open) opener().close();
  return { name: names.join(", "), open };
}

/** A file; a sample where there is no such file here. */
function openNamed(name: string): ByteSource {
  if (Object.hasOwn(samples, name) && kindOfPath(name) !== "file") {
    return bytesSource(new TextEncoder().encode(samples[name]), name);
  }
  return openFile(name);
}

/** Data files below a folder in the order of their names; where there are none, documents. */
function filesIn(folder: string, notes: CleaningNote[]): string[] {
  const all = [...walk(folder)].sort();
  const data = all.filter((path) => ending(dataEndings).test(path) && !notData.test(basename(path)));
  const found = data.length > 0 ? data : all.filter((path) => ending(textEndings).test(path));
  if (found.length === 0) {
    throw new UserError(`${folder}: this folder holds no data files`, {
      hint: `Name a file, or a folder of ${[...dataEndings, ...textEndings].map((end) => `.${end}`).join(" ")} files.`,
    });
  }
  const learnt = found.filter((path) => !heldBack.test(path.slice(folder.length)));
  if (learnt.length === 0) return found;
  for (const path of found) {
    if (!learnt.includes(path)) notes.push({ place: path, what: "named as data for evaluation", action: "left out" });
  }
  return learnt;
}

function* walk(folder: string): Generator<string> {
  let entries: Deno.DirEntry[];
  try {
    entries = [...Deno.readDirSync(folder)];
  } catch (error) {
    throw fileError(error, { action: "read", path: folder });
  }
  for (const { name, isDirectory, isFile } of entries) {
    if (name.startsWith(".")) continue;
    const path = join(folder, name);
    if (isDirectory) yield* walk(path);
    else if (isFile || kindOfPath(path) === "file") yield path;
  }
}
