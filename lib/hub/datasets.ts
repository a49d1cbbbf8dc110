/**
 * The data files of a hub's dataset repository, in Hugging Face's cache: those of one split and, where there are
 * several configurations, of one of them, as the repository's README.md says or, where it says nothing, as their paths
 * tell. Reading rows is lib/data's.
 */
import { nearest, UserError } from "../errors.ts";
import type { Choice } from "./choose_files.ts";
import { type Asked, filesByCard } from "./dataset_card.ts";
import { pointerPath } from "./hub_cache.ts";
import { type HubOptions, pullFiles } from "./pull_repo.ts";
import { parseDatasetName } from "./repo_name.ts";

export interface PullDatasetOptions extends HubOptions {
  /** A folder of the repository that stands for a configuration: "main", "en". */
  config?: string;
  /** By default train, where file names tell splits apart at all. */
  split?: string;
}

const splits = ["train", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation", "training"];

/** Of one and the same data in several formats, the first of these is taken. */
const formats = ["parquet", "jsonl", "csv", "json"] as const;

/**
 * `name`: "org/name", "org/name:split", "org/name:config/split", "@revision" behind, "datasets/" before it. Throws
 * UserError when it is no such name, the repository has no data files, not this split or configuration, or several and
 * none was chosen.
 */
export async function pullDataset(name: string, options: PullDatasetOptions): Promise<{ files: string[] }> {
  const parsed = parseDatasetName(name);
  if (!parsed) {
    throw new UserError(`${JSON.stringify(name)} is not the name of a dataset on a hub`, {
      hint: "It is org/name, such as databricks/databricks-dolly-15k, or org/name:config/split",
    });
  }
  const { repo, config = options.config, split = options.split } = parsed, asked: Asked = { repo, config, split };
  const choose = (files: { path: string }[]): Choice => {
    const paths = files.map(({ path }) => path), card = paths.includes("README.md");
    if (!card) return { kind: "data", small: [], large: () => chooseDataFiles(paths, asked) };
    const large: Choice["large"] = (read) => chooseDataFiles(paths, { ...asked, card: read("README.md") });
    return { kind: "data", small: ["README.md"], large };
  };
  const { folder, commit, large } = await pullFiles(parsed, { ...options, kind: "dataset", choose });
  return { files: large.map((path) => pointerPath(folder, commit, path)) };
}

/** Paths of the data files that are meant, in their order. */
export function chooseDataFiles(
  paths: string[],
  { repo, config, split, card = "" }: Asked & { card?: string },
): string[] {
  const data = paths.filter((path) =>
    /\.(parquet|jsonl|csv|json)$/i.test(path) &&
    !/(^|\/)(\.|dataset_infos?\.json$|dataset_dict\.json$|state\.json$)/.test(path)
  );
  if (data.length === 0) {
    throw new UserError(`${repo} has no data files in CSV, JSON, JSON lines or Parquet`, {
      hint: "Its rows may be in another format or made by a script: save them as JSON lines and name that file",
    });
  }
  const told = filesByCard(card, data, { repo, config, split });
  if (told) return told;
  const configured = ofConfig(data, { repo, config });
  const chosen = ofSplit(configured, { repo, split });
  const format = formats.find((one) => chosen.some((path) => path.toLowerCase().endsWith(`.${one}`)));
  return chosen.filter((path) => path.toLowerCase().endsWith(`.${format}`)).sort();
}

/** Folders hold configurations when more than one of them holds data. A folder "data" and names of splits are none. */
function ofConfig(paths: string[], { repo, config }: { repo: string; config?: string }): string[] {
  const folderOf = (path: string) =>
    path.split("/").slice(0, -1).find((step) => step !== "data" && !splits.includes(step.toLowerCase()));
  const found = [...new Set(paths.map(folderOf))];
  if (config === undefined) {
    if (found.length === 1) return paths;
    for (const usual of [undefined, "default", "main"]) {
      if (found.includes(usual)) return paths.filter((path) => folderOf(path) === usual);
    }
    throw new UserError(`${repo} has ${found.length} configurations, and none was chosen`, {
      hint: `Choose one of: ${shown(found)}; as ${repo}:${found[0] ?? "default"}/`,
    });
  }
  const chosen = paths.filter((path) => folderOf(path) === config || path.split("/").slice(0, -1).includes(config));
  if (chosen.length > 0) return chosen;
  if (config === "default" && found.includes(undefined)) return paths.filter((path) => folderOf(path) === undefined);
  throw missing(`configuration ${config}`, { repo, found, word: config });
}

/** A split's name stands alone in a path: "data/train-00000-of-00002.parquet", "test.csv", "train/0.jsonl". */
function ofSplit(paths: string[], { repo, split }: { repo: string; split?: string }): string[] {
  const has = (path: string, word: string) => new RegExp(`(^|[^a-z])${word}([^a-z]|$)`, "i").test(path);
  const ofWord = (word: string) => paths.filter((path) => has(path, escaped(word)));
  if (split !== undefined) {
    const chosen = ofWord(split);
    if (chosen.length > 0) return chosen;
    const found = splits.filter((word) => ofWord(word).length > 0);
    if (found.length === 0 && split === "train") return paths;
    throw missing(`split ${split}`, { repo, found, word: split });
  }
  for (const word of ["train", "training"]) if (ofWord(word).length > 0) return ofWord(word);
  const plain = paths.filter((path) => !splits.some((word) => has(path, word)));
  if (plain.length > 0) return plain;
  const found = splits.filter((word) => ofWord(word).length > 0);
  if (found.length === 1) return paths;
  throw new UserError(`${repo} has ${found.length} splits, and none was chosen`, {
    hint: `Choose one of: ${shown(found)}; as ${repo}:${found[0]}`,
  });
}

const escaped = (word: string) => word.replace(/[^\w]/g, "\\$&");

function missing(
  what: string,
  { repo, found, word }: { repo: string; found: (string | undefined)[]; word: string },
): UserError {
  const near = nearest(word, found.filter((one) => one !== undefined));
  const hint = found.length > 0 ? `There are: ${shown(found)}` : "It has one set of rows: leave this out";
  return new UserError(`${repo} has no ${what}${near ? `, did you mean ${near}?` : ""}`, { hint });
}

function shown(found: (string | undefined)[]): string {
  const names = found.map((one) => one ?? "default").sort();
  return names.slice(0, 20).join(", ") + (names.length > 20 ? ` and ${names.length - 20} more` : "");
}
