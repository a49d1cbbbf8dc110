/**
 * What a person may name as data: files, folders of data files or of documents, data sets of the hub, and the samples
 * inside the program. Says which files are meant; reading them is lib/data's.
 */
import { basename, join } from "node:path";
import { UserError } from "../errors.ts";
import type { DataFiles } from "../data/dataset.ts";
import { dataEndings, textEndings } from "../data/read.ts";
import type { CleaningNote } from "../data/rows.ts";
import { fileError } from "../files/file_error.ts";
import { openFile } from "../files/file_source.ts";
import { type ByteSource, bytesSource } from "../formats/byte_source.ts";
import { isPathHere, parseDatasetName } from "../hub/repo_name.ts";
import { kindOfPath } from "../model/model_files.ts";
import { fetchDataset } from "./pull.ts";
import { samples } from "./samples.ts";

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

/**
 * Data sets of the hub are fetched where they are not in its cache. Errors: UserError when something is not there, or a
 * folder holds nothing to read.
 */
export async function chooseFiles(
  { data, eval_data }: { data: string[]; eval_data: string[] },
): Promise<ChosenFiles> {
  const notes: CleaningNote[] = [];
  const evaluation = eval_data.length === 0 ? null : await findDataFiles(eval_data, notes);
  return { data: await findDataFiles(data, notes), evaluation, notes };
}

async function findDataFiles(names: string[], notes: CleaningNote[]): Promise<DataFiles> {
  const open: DataFiles["open"] = [];
  for (const name of names) {
    if (kindOfPath(name) === "folder") open.push(...filesIn(name, notes).map((path) => () => openFile(path)));
    else if (isOnHub(name)) open.push(...(await fetchDataset(name)).map((path) => () => openFile(path)));
    else open.push(() => openNamed(name));
  }
  // Told at once, before anything large is loaded.
  for (const opener of open) opener().close();
  return { name: names.join(", "), open };
}

/** A name of the hub's: "org/name", where that is neither a path here nor a data file's name. */
function isOnHub(name: string): boolean {
  if (isPathHere(name) || ending([...dataEndings, ...textEndings]).test(name)) return false;
  return parseDatasetName(name) !== undefined;
}

/** A file; a sample where there is no such file here. */
function openNamed(name: string): ByteSource {
  if (Object.hasOwn(samples, name) && kindOfPath(name) !== "file") {
    return bytesSource(new TextEncoder().encode(samples[name]), name);
  }
  if (name.endsWith(".arrow")) throw notRead(name);
  return openFile(name);
}

/** What save_to_disk of Hugging Face's datasets writes. */
function notRead(arrow: string): UserError {
  return new UserError(`${arrow}: Arrow files are not read`, {
    hint: 'Write the data set as Parquet: load_from_disk("FOLDER")["train"].to_parquet("rows.parquet").',
  });
}

/** Data files below a folder in the order of their names; where there are none, documents. */
function filesIn(folder: string, notes: CleaningNote[]): string[] {
  const all = [...walk(folder)].sort();
  const data = all.filter((path) => ending(dataEndings).test(path) && !notData.test(basename(path)));
  const found = data.length > 0 ? data : all.filter((path) => ending(textEndings).test(path));
  if (found.length === 0) {
    const arrow = all.find((path) => path.endsWith(".arrow"));
    if (arrow !== undefined) throw notRead(arrow);
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
