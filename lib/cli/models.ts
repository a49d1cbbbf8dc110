/** `ftl models`: what the caches hold, how large it is and whether ftl can read it; and removing it. */
import { join } from "node:path";
import { nearest, UserError } from "../errors.ts";
import { removeFile } from "../files/atomic.ts";
import { quantOf } from "../hub/choose_files.ts";
import { type CachedRepo, removeRepo, scanHubCache, scanOwnCache } from "../hub/cached_models.ts";
import { type CachedWeightsFile, listCachedWeights } from "../model/cached_weights.ts";
import { openModel } from "../model/source.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { hubSettings } from "./hub_settings.ts";
import { asTyped, cacheFolder, modelsFolder, printable, showBytes } from "./terminal.ts";

export const shape: CommandShape = {
  name: "models",
  summary: "Lists what is cached: models and datasets in ftl's own cache and in Hugging Face's, and the weights that " +
    "ftl keeps in 4-bit NF4 to start sooner. remove deletes some of it, clear all of the NF4 weights (they are made " +
    "again when needed).",
  usage: "[remove name... | clear]",
  most: Infinity,
  takes: [{ words: ["remove", "clear"] }, { kinds: ["model"] }],
  examples: [
    ["ftl models", "what is here"],
    ["ftl models --json", "the same for a program"],
    ["ftl models remove Qwen/Qwen3-0.6B", "delete a model, with the NF4 weights made from it"],
    ["ftl models remove datasets/org/name", "delete a dataset"],
    ["ftl models clear", "delete the NF4 weights of all models"],
  ],
};

// deno-lint-ignore require-await
export async function command(line: CommandLine): Promise<number> {
  const { json } = settingsOf("models", line), [verb, ...names] = line.positional;
  const found = look();
  if (verb === undefined) console.log(json ? toJson(found) : showCaches(found));
  else if (verb === "clear" && names.length === 0) console.log(`freed ${showBytes(removeWeights(found.weights))}`);
  else if (verb === "remove" && names.length > 0) { for (const name of names) console.log(remove(name, found)); }
  else {
    throw new UserError(`ftl models ${line.positional.join(" ")}: expected nothing, remove with a name, or clear`, {
      hint: "See ftl models --help",
      exitCode: 2,
    });
  }
  return 0;
}

/** A cached repository, and whether ftl can use it. */
interface Entry extends CachedRepo {
  /** "safetensors", "GGUF Q4_K_M, Q8_0" */
  format: string;
  /** Why ftl cannot read it; null when it can, or when it is not a model. */
  problem: string | null;
}

interface Caches {
  folders: { own: string; huggingface: string; weights: string };
  repos: Entry[];
  weights: CachedWeightsFile[];
}

function look(): Caches {
  const folders = {
    own: modelsFolder(),
    huggingface: hubSettings().cacheDir,
    weights: join(cacheFolder(), "weights"),
  };
  const repos = [...scanOwnCache(folders.own), ...scanHubCache(folders.huggingface)];
  return {
    folders,
    repos: repos.map((repo) => ({ ...repo, format: formatOf(repo), problem: problemOf(repo) })),
    weights: listCachedWeights(folders.weights),
  };
}

function formatOf({ kind, models }: CachedRepo): string {
  if (kind === "dataset") return "";
  const gguf = models.filter((path) => path.endsWith(".gguf")).map(quantOf);
  const names = [...new Set(gguf)].filter((name) => name !== "").join(", ");
  const folder = models.length > gguf.length ? ["safetensors"] : [];
  return [...folder, ...(gguf.length > 0 ? [`GGUF ${names}`.trim()] : [])].join(", ");
}

/** What opening says against all of a repository's models; opening reads headers only. */
function problemOf({ kind, models, folder, unfinishedBytes }: CachedRepo): string | null {
  if (kind === "dataset") return null;
  let first: string | undefined;
  for (const path of models) {
    try {
      openModel(path).close();
      return null;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      first ??= error.message.split("\n")[0].replaceAll(`${path}/`, "").replaceAll(path, "it").replaceAll(
        `${folder}/`,
        "",
      );
    }
  }
  return first ?? (unfinishedBytes > 0 ? "unfinished" : "no model in it");
}

/** A table for a person. */
export function showCaches({ folders, repos, weights }: Caches, now = Date.now()): string {
  const lines: string[] = [];
  const table = (title: string, rows: string[][]) => {
    if (rows.length === 0) return;
    const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
    const line = (row: string[]) =>
      row.map((cell, i) => i === 1 ? cell.padStart(widths[i]) : cell.padEnd(widths[i])).join("  ").trimEnd();
    lines.push(...(lines.length > 0 ? [""] : []), title, ...rows.map((row) => `  ${line(row)}`));
  };
  const rest = ({ unfinishedBytes }: Entry) => unfinishedBytes > 0 ? `${showBytes(unfinishedBytes)} unfinished` : "";
  const row = (entry: Entry) => {
    const state = entry.kind === "dataset"
      ? ""
      : entry.problem === null
      ? "readable"
      : `not readable: ${entry.problem}`;
    const notes = [state, rest(entry)].filter((text) => text !== "").join("; ");
    return [entry.name, showBytes(entry.bytes), showAge(now - entry.used), entry.format, notes].map(printable);
  };
  const of = (cache: Entry["cache"], kind: Entry["kind"]) =>
    repos.filter((repo) => repo.cache === cache && repo.kind === kind).map(row);
  table(`models in ${folders.own}`, of("ftl", "model"));
  table(`models in ${folders.huggingface}`, of("huggingface", "model"));
  table(`datasets in ${folders.huggingface}`, of("huggingface", "dataset"));
  table(
    `weights in 4-bit NF4, made again when needed, in ${folders.weights}`,
    weights.map((file) => [ownerOf(file, repos), showBytes(file.bytes), showAge(now - file.modified)].map(printable)),
  );
  if (lines.length === 0) return asTyped("nothing is cached; ftl pull fetches a model");
  const bytes = [...repos, ...weights].reduce((sum, one) => sum + one.bytes, 0);
  return [...lines, "", `${showBytes(bytes)} in all`].join("\n");
}

/** The cached model that weights were made from, or its path, or that it is gone. */
function ownerOf({ model }: CachedWeightsFile, repos: CachedRepo[]): string {
  if (model === null) return "(of an unknown model)";
  const owner = repos.find((repo) => isInside(model, repo.folder));
  if (owner) return owner.name;
  try {
    Deno.statSync(model);
    return model;
  } catch {
    return `${model} (gone)`;
  }
}

function isInside(path: string, folder: string): boolean {
  try {
    return path.startsWith(Deno.realPathSync(folder) + "/");
  } catch {
    return false;
  }
}

/** "today", "3 days ago" */
function showAge(milliseconds: number): string {
  const days = Math.floor(milliseconds / 86_400_000);
  return days < 1
    ? "today"
    : days < 2
    ? "yesterday"
    : days < 60
    ? `${days} days ago`
    : `${Math.floor(days / 30)} months ago`;
}

function toJson({ folders, repos, weights }: Caches): string {
  const date = (time: number) => new Date(time).toISOString();
  const common = ({ name, cache, folder, bytes, unfinishedBytes, modified, used }: Entry) => ({
    name,
    cache,
    folder,
    bytes,
    unfinishedBytes,
    modified: date(modified),
    used: date(used),
  });
  const of = (kind: Entry["kind"]) => repos.filter((repo) => repo.kind === kind);
  const models = of("model").map((entry) => {
    const { format, problem, models } = entry;
    return { ...common(entry), format, readable: problem === null, problem, paths: models };
  });
  const nf4 = weights.map((file) => ({ ...file, modified: date(file.modified) }));
  return JSON.stringify({ folders, models, datasets: of("dataset").map(common), weights: nf4 }, null, 2);
}

/** Removes a repository and the weights made from it; says what that freed. */
function remove(name: string, { repos, weights }: Caches): string {
  const repo = repos.find((one) => one.name === name);
  if (!repo) {
    const near = nearest(name, repos.map((one) => one.name));
    throw new UserError(`${name} is not cached${near ? `, did you mean ${near}?` : ""}`, { hint: "See ftl models" });
  }
  const made = weights.filter(({ model }) => model !== null && isInside(model, repo.folder));
  // First what is made again: where something cannot be removed, the model is still there to be named.
  const freed = removeWeights(made), bytes = removeRepo(repo);
  return `removed ${name}, freed ${showBytes(bytes)}` + (freed > 0 ? ` and ${showBytes(freed)} of NF4 weights` : "");
}

function removeWeights(files: CachedWeightsFile[]): number {
  for (const { path } of files) removeFile(path);
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
