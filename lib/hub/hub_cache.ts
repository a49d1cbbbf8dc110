/**
 * Hugging Face's cache folder, as huggingface_hub lays it out, so that its tools find what ftl fetched and ftl finds
 * what they did:
 *
 *   models--org--name/blobs/<digest>              the bytes, once
 *   models--org--name/snapshots/<commit>/<path>   links to them
 *   models--org--name/refs/<revision>             the commit a branch or tag pointed to
 *
 * and, ours alone, models--org--name/ftl/<commit>.json: the listing of that commit, by which a snapshot is known to
 * hold all that is wanted of it. (huggingface_hub keeps the same under trees/, but then calls a snapshot broken that
 * lacks any listed file, and ftl fetches only some.)
 */
import { dirname, join, relative } from "node:path";
import { createHash } from "node:crypto";
import { writeTextAtomic } from "../files/atomic.ts";
import { exists, openToRead, removeQuietly } from "./disk.ts";
import { isListed, type ListedFile, type Listing } from "./listing.ts";
import { isCommit, isSafePath } from "./repo_name.ts";

export interface RepoFolder {
  /** ".../models--org--name" */
  root: string;
  blobs: string;
}

export function repoFolder(cacheDir: string, { repo, kind }: { repo: string; kind: "model" | "dataset" }): RepoFolder {
  const root = join(cacheDir, `${kind}s--${repo.replace("/", "--")}`);
  return { root, blobs: join(root, "blobs") };
}

export const snapshotFolder = ({ root }: RepoFolder, commit: string) => join(root, "snapshots", commit);

/** The commit that a revision meant when it was last fetched. */
export function cachedCommit({ root }: RepoFolder, revision: string): string | undefined {
  if (isCommit(revision)) return revision;
  try {
    const text = Deno.readTextFileSync(join(root, "refs", ...revision.split("/"))).trim();
    return isCommit(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

export function writeRef({ root }: RepoFolder, revision: string, commit: string): void {
  if (!isCommit(revision)) writeWhole(join(root, "refs", ...revision.split("/")), commit);
}

const listingPath = ({ root }: RepoFolder, commit: string) => join(root, "ftl", `${commit}.json`);

export function writeListing(folder: RepoFolder, listing: Listing): void {
  writeWhole(listingPath(folder, listing.commit), JSON.stringify(listing));
}

/** The listing of a commit where ftl kept it; undefined for a snapshot that other tools fetched. */
export function cachedListing(folder: RepoFolder, commit: string): Listing | undefined {
  try {
    const { files } = JSON.parse(Deno.readTextFileSync(listingPath(folder, commit)));
    return Array.isArray(files) && files.every(isListed) ? { commit, files } : undefined;
  } catch {
    return undefined;
  }
}

/** Paths of the files in a snapshot whose bytes are there, and their sizes. */
export function snapshotFiles(folder: RepoFolder, commit: string): { path: string; size: number }[] {
  const root = snapshotFolder(folder, commit);
  const found: { path: string; size: number }[] = [];
  const walk = (below: string) => {
    let entries: Deno.DirEntry[];
    try {
      entries = [...Deno.readDirSync(join(root, below))];
    } catch {
      return;
    }
    for (const { name, isDirectory } of entries) {
      const path = below === "" ? name : `${below}/${name}`;
      if (isDirectory) walk(path);
      else if (exists(join(root, path))) found.push({ path, size: Deno.statSync(join(root, path)).size });
    }
  };
  walk("");
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Where a file of a snapshot lies, or should. */
export function pointerPath(folder: RepoFolder, commit: string, path: string): string {
  if (!isSafePath(path)) throw new Error(`unsafe path ${path}`);
  return join(snapshotFolder(folder, commit), ...path.split("/"));
}

/** Gives a blob its name in a snapshot: a relative link, or where the system has no links the file itself. */
export function point(folder: RepoFolder, commit: string, file: ListedFile): void {
  const pointer = pointerPath(folder, commit, file.path), blob = join(folder.blobs, file.digest);
  Deno.mkdirSync(dirname(pointer), { recursive: true });
  removeQuietly(pointer); // a link to what is no longer there
  try {
    Deno.symlinkSync(relative(dirname(pointer), blob), pointer);
  } catch (error) {
    if (Deno.build.os !== "windows") throw error;
    Deno.renameSync(blob, pointer);
  }
}

/** Digest of a file as the hub counts it: sha256, or git's id of a blob where the expected one has 40 digits. */
export async function digestOf(
  path: string,
  { like, signal, progress }: { like: string; signal?: AbortSignal; progress?: (bytes: number) => void },
): Promise<string> {
  using file = openToRead(path);
  const hash = createHash(like.length === 64 ? "sha256" : "sha1");
  if (like.length === 40) hash.update(`blob ${file.size}\0`);
  const buffer = new Uint8Array(1 << 20);
  for (let n = await file.read(buffer); n !== null; n = await file.read(buffer)) {
    signal?.throwIfAborted();
    hash.update(buffer.subarray(0, n));
    progress?.(n);
  }
  return hash.digest("hex");
}

/** Writes a small file, and the folders above it, so that its name never shows half of it. */
export function writeWhole(path: string, text: string): void {
  Deno.mkdirSync(dirname(path), { recursive: true });
  writeTextAtomic(path, text);
}
