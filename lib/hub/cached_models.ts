/**
 * What lies in the caches, ftl's own and Hugging Face's, and removing it. (@huggingface/hub's scan of the cache gives
 * up on a repository without refs and does not look into folders of a snapshot, where many GGUF files lie.)
 *
 * Only what lies in a cache's folder itself is counted and removed: links that lead elsewhere are not followed.
 */
import { basename, dirname, join } from "node:path";
import { UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { removeFolder } from "../files/folder.ts";
import { chooseFiles } from "./choose_files.ts";
import { removeQuietly } from "./disk.ts";
import { pointerPath, snapshotFiles, snapshotFolder } from "./hub_cache.ts";
import { type RepoLock, tryLockRepo } from "./repo_lock.ts";

export interface CachedRepo {
  /** As it is named on a command line: "smollm2-135m", "org/name", "datasets/org/name". */
  name: string;
  cache: "ftl" | "huggingface";
  kind: "model" | "dataset";
  /** What `ftl models remove` deletes. */
  folder: string;
  /** Bytes on this disk in that folder, unfinished downloads among them. */
  bytes: number;
  unfinishedBytes: number;
  /** When a file was last written or read; milliseconds, as Date counts. */
  modified: number;
  used: number;
  /** Folders of safetensors and (first) GGUF files that could be opened, newest commit first. */
  models: string[];
}

/** Everything in Hugging Face's cache folder, by name; nothing where there is no folder. */
export function scanHubCache(cacheDir: string): CachedRepo[] {
  return foldersIn(cacheDir).flatMap((entry): CachedRepo[] => {
    const match = /^(model|dataset)s--(.+)$/.exec(entry);
    if (!match) return [];
    const kind = match[1] as CachedRepo["kind"], folder = join(cacheDir, entry), repo = match[2].replace("--", "/");
    const name = kind === "dataset" ? `datasets/${repo}` : repo;
    const models = kind === "dataset" ? [] : modelsOf(folder, repo);
    return [{ name, cache: "huggingface", kind, folder, ...weigh(folder), models }];
  });
}

/** The models that ftl keeps by short name. */
export function scanOwnCache(modelsDir: string): CachedRepo[] {
  return foldersIn(modelsDir).map((name) => {
    const folder = join(modelsDir, name);
    const models = namesIn(folder).filter((file) => file.endsWith(".gguf")).map((file) => join(folder, file));
    return { name, cache: "ftl", kind: "model", folder, ...weigh(folder), models };
  });
}

/** Deletes a repository's folder; returns the bytes that became free. UserError when it is a link or being fetched. */
export function removeRepo({ name, folder, bytes, cache }: CachedRepo): number {
  if (Deno.lstatSync(folder).isSymlink) {
    throw new UserError(`${name} is a link to ${Deno.readLinkSync(folder)}, and what it leads to is not the cache's`, {
      hint: `Remove the link yourself: ${folder}`,
    });
  }
  const lock = cache === "huggingface" ? lockOf(folder) : undefined;
  if (lock === null) throw new UserError(`${name} is being fetched`, { hint: "Stop that first, or wait for its end" });
  try {
    removeFolder(folder); // removes links in it, not what they lead to
  } finally {
    lock?.release();
  }
  // Locks of a repository that is gone do no harm.
  if (lock) removeQuietly(join(dirname(folder), ".locks", basename(folder)));
  return bytes;
}

function lockOf(folder: string): RepoLock | null {
  try {
    return tryLockRepo(folder);
  } catch (error) {
    throw fileError(error, { action: "remove", path: folder });
  }
}

/** Real folders, not links to some. */
function foldersIn(folder: string): string[] {
  return namesIn(folder).filter((name) => !name.startsWith(".") && Deno.lstatSync(join(folder, name)).isDirectory);
}

function namesIn(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw fileError(error, { action: "list", path: folder });
  }
}

/** Bytes and times of the files below a folder. */
function weigh(folder: string): Pick<CachedRepo, "bytes" | "unfinishedBytes" | "modified" | "used"> {
  const found = { bytes: 0, unfinishedBytes: 0, modified: 0, used: 0 };
  const walk = (path: string) => {
    for (const name of namesIn(path)) {
      const info = Deno.lstatSync(join(path, name));
      if (info.isDirectory) walk(join(path, name));
      if (!info.isFile) continue;
      // A file that is written in pieces has holes until it is whole.
      const bytes = info.blocks === null ? info.size : Math.min(info.size, info.blocks * 512);
      found.bytes += bytes;
      if (/\.incomplete(\.json)?$/.test(name)) found.unfinishedBytes += bytes;
      const modified = info.mtime?.getTime() ?? 0;
      found.modified = Math.max(found.modified, modified);
      found.used = Math.max(found.used, modified, info.atime?.getTime() ?? 0);
    }
  };
  walk(folder);
  const own = Deno.lstatSync(folder).mtime?.getTime() ?? 0; // of a folder without files
  return { ...found, modified: found.modified || own, used: found.used || own };
}

/** Paths of a repository's models: of every commit the folder of safetensors, or each GGUF file. */
function modelsOf(root: string, repo: string): string[] {
  const folder = { root, blobs: join(root, "blobs") };
  const time = (commit: string) => Deno.statSync(snapshotFolder(folder, commit)).mtime?.getTime() ?? 0;
  const commits = namesIn(join(root, "snapshots")).sort((a, b) => time(b) - time(a));
  return commits.flatMap((commit) => {
    const files = snapshotFiles(folder, commit);
    const paths = files.some(({ path }) => path === "config.json" || path.endsWith("/config.json"))
      ? [snapshotFolder(folder, commit)]
      : [];
    const gguf = files.map(({ path }) => path).filter((path) => path.endsWith(".gguf")).filter((file) => {
      try {
        return chooseFiles(files, { repo, file }).large(() => "")[0] === file;
      } catch {
        return false; // parts are missing
      }
    });
    return [...paths, ...gguf.map((path) => pointerPath(folder, commit, path))];
  });
}
