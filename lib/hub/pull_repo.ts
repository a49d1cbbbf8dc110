/**
 * One repository of a hub into Hugging Face's cache: what is wanted of it is chosen from its listing; small files come
 * first, so that a model which cannot be used is refused before its weights are fetched; then the rest, in parallel,
 * where the disk has room. The branch's name points to the new commit only when all of it is there.
 */
import { UserError } from "../errors.ts";
import { type Choice, chooseFiles } from "./choose_files.ts";
import { freeBytes, inUnits } from "../files/space.ts";
import { checkSpace, diskError, exists, removeQuietly } from "./disk.ts";
import * as cache from "./hub_cache.ts";
import { filesAt, fileUrl, type ListedFile, type Listing, listRepo } from "./listing.ts";
import { isSafePath, type RepoName } from "./repo_name.ts";
import { lockRepo } from "./repo_lock.ts";
import {
  ask,
  type Asking,
  type HubSettings,
  NotCachedError,
  type Tuning,
  tuning,
  UnreachableError,
} from "./request.ts";
import { bytesThere, fetchFiles } from "./transfer.ts";

export interface HubProgress {
  phase: "download" | "check";
  /** Bytes so far, those that earlier attempts left among them, and in all. */
  bytes: number;
  total: number;
}

export interface HubOptions {
  hub: HubSettings;
  progress?: (progress: HubProgress) => void;
  /** A line for the user: what is fetched, from where. */
  note?: (text: string) => void;
  /** Asks the hub whether there is something newer, instead of taking what is cached. */
  update?: boolean;
  /** Reads what is cached again and compares its digests; what differs is fetched again. */
  check?: boolean;
  signal?: AbortSignal;
  /** Throws NotCachedError instead of asking the hub. */
  cachedOnly?: boolean;
  /** Replaced in tests. */
  tuning?: Partial<Tuning>;
  freeBytes?: (folder: string) => number | undefined;
}

export interface PullModelOptions extends HubOptions {
  /** Throws for the config.json, or the first bytes of the GGUF file, of a model that cannot be used. */
  inspect?: (seen: { config: string; where: string } | { gguf: Uint8Array; where: string }) => void;
}

export interface PulledFiles {
  folder: cache.RepoFolder;
  commit: string;
  kind: Choice["kind"];
  /** Paths of weights or rows below the snapshot. */
  large: string[];
  /** Whether anything was fetched. */
  fetched: boolean;
}

/** A model's folder of safetensors, or its (first) GGUF file, in the cache. */
export async function pullRepo(
  name: RepoName,
  options: PullModelOptions,
): Promise<{ path: string; fetched: boolean }> {
  const choose = (files: ListedFile[]) => chooseFiles(files, name);
  const found = await pullFiles(name, { ...options, kind: "model", choose });
  return { path: modelPath(found), fetched: found.fetched };
}

function modelPath({ folder, commit, kind, large }: PulledFiles): string {
  return kind === "gguf" ? cache.pointerPath(folder, commit, large[0]) : cache.snapshotFolder(folder, commit);
}

export interface Plan extends PullModelOptions {
  kind: "model" | "dataset";
  /** What of a listing is wanted. Throws UserError when it has nothing of use. */
  choose(files: ListedFile[]): Choice;
}

/** Brings the chosen files of a repository into the cache, or finds them there. */
export async function pullFiles(name: RepoName, plan: Plan): Promise<PulledFiles> {
  const { hub, signal, kind } = plan, { repo } = name;
  const folder = cache.repoFolder(hub.cacheDir, { repo, kind });
  const offline = hub.offline !== undefined;
  if (offline && plan.check) {
    throw new UserError(`Cannot check ${repo}: its checksums are the hub's, and ${hub.offline} forbids to ask`, {
      hint: `Unset ${hub.offline} and run it again`,
    });
  }
  const cached = (anything: boolean) => findCached(name, { folder, choose: plan.choose, anything });
  const found = offline || !(plan.update || plan.check) ? cached(offline) : undefined;
  if (found) return found;
  if (offline) {
    throw new UserError(`${repo} is not in ${hub.cacheDir}, and ${hub.offline} forbids to fetch it`, {
      hint: `Unset ${hub.offline} and run it again`,
    });
  }
  if (plan.cachedOnly) throw new NotCachedError(repo);
  const asking: Asking = { hub, repo, kind, signal, tuning: { ...tuning, ...plan.tuning } };
  let listing: Listing;
  try {
    listing = await listRepo(name.revision ?? "main", asking);
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    const found = cached(true);
    if (!found) throw error;
    plan.note?.(`${error.message}; taking what is cached`);
    return found;
  }
  try {
    const waiting = () => plan.note?.(`${repo}: another ftl is fetching it, waiting`);
    const choice = plan.choose(listing.files);
    Deno.mkdirSync(folder.blobs, { recursive: true });
    const lock = await lockRepo(folder.root, { signal, note: waiting });
    try {
      return await fetchChosen(name, choice, { plan, asking, listing, folder });
    } finally {
      lock.release();
      removeEmpty(folder);
    }
  } catch (error) {
    throw diskError(error, { folder: hub.cacheDir, setting: "HF_HUB_CACHE" });
  }
}

/** A snapshot that holds all that is wanted of it. */
function findCached(
  { revision = "main" }: RepoName,
  { folder, choose, anything }: { folder: cache.RepoFolder; choose: Plan["choose"]; anything: boolean },
): PulledFiles | undefined {
  const commit = cache.cachedCommit(folder, revision);
  if (commit === undefined) return undefined;
  const at = (path: string) => cache.pointerPath(folder, commit, path);
  const complete = (files: ListedFile[]): PulledFiles | undefined => {
    try {
      const choice = choose(files), large = choice.large((path) => Deno.readTextFileSync(at(path)));
      if (![...choice.small, ...large].every((path) => exists(at(path)))) return undefined;
      return { folder, commit, kind: choice.kind, large, fetched: false };
    } catch {
      return undefined; // Nothing of use in it yet.
    }
  };
  const listing = cache.cachedListing(folder, commit);
  const found = listing && complete(listing.files);
  // A snapshot of other tools is judged by what it holds; without a hub, that is all there is to choose from.
  if (found || (listing && !anything)) return found;
  return complete(cache.snapshotFiles(folder, commit).map((file) => ({ ...file, digest: "" })));
}

interface Fetching {
  plan: Plan;
  asking: Asking;
  listing: Listing;
  folder: cache.RepoFolder;
}

async function fetchChosen(name: RepoName, choice: Choice, fetching: Fetching): Promise<PulledFiles> {
  const { plan, listing, folder } = fetching, { commit } = listing, { repo, revision = "main" } = name;
  const read = (path: string) => Deno.readTextFileSync(cache.pointerPath(folder, commit, path));
  const small = filesAt(choice.small, listing, repo);
  const before = await get(small, { ...fetching, quiet: true });
  if (small.some(({ path }) => path === "config.json")) {
    plan.inspect?.({ config: read("config.json"), where: `${repo}: config.json` });
  }
  const large = filesAt(choice.large(read), listing, repo);
  if (choice.kind === "gguf") await inspectGguf(large[0], fetching);
  const after = await get(large, fetching);
  cache.writeListing(folder, listing);
  cache.writeRef(folder, revision, commit);
  return { folder, commit, kind: choice.kind, large: large.map(({ path }) => path), fetched: before || after };
}

/** Fetches what is missing of `files` and gives it its names in the snapshot. False when nothing was. */
async function get(
  files: ListedFile[],
  { plan, asking, listing: { commit }, folder, quiet = false }: Fetching & { quiet?: boolean },
): Promise<boolean> {
  for (const { path } of files) {
    if (isSafePath(path)) continue;
    throw new UserError(`${asking.repo} lists a file named ${JSON.stringify(path)}, which could end up anywhere`, {
      hint: "Nothing of it was written: take another copy from someone you trust",
    });
  }
  const { blobs } = folder, { hub, repo } = asking;
  if (plan.check) await dropDamaged(files, { plan: quiet ? { ...plan, progress: undefined } : plan, commit, folder });
  const missing = files.filter(({ path, size }) => sizeAt(cache.pointerPath(folder, commit, path)) !== size);
  // Files with the same bytes are one blob.
  const wanted = [...new Map(missing.map((file) => [file.digest, file])).values()]
    .filter(({ digest, size }) => sizeAt(`${blobs}/${digest}`) !== size);
  const total = sum(wanted.map(({ size }) => size)), there = sum(wanted.map((file) => bytesThere(file, blobs)));
  if (wanted.length > 0) {
    const free = (plan.freeBytes ?? freeBytes)(blobs);
    checkSpace(total - there, { what: repo, folder: hub.cacheDir, setting: "HF_HUB_CACHE", free });
    if (!quiet) {
      const count = wanted.length === 1 ? "1 file" : `${wanted.length} files`;
      const rest = there > 0 ? `, of which ${inUnits(there)} are there already` : "";
      plan.note?.(`${repo}: fetching ${count}, ${inUnits(total)}, from ${new URL(hub.endpoint).host}${rest}`);
    }
    const bytes = { download: there, check: 0 };
    await fetchFiles(wanted, {
      asking,
      commit,
      blobs,
      progress: (phase, more) => {
        bytes[phase] += more;
        if (!quiet) plan.progress?.({ phase, bytes: bytes[phase], total });
      },
    });
  }
  for (const file of missing) cache.point(folder, commit, file);
  return wanted.length > 0;
}

/** Asks for the beginning of a GGUF file that is not there yet, and shows it to who can judge it. */
async function inspectGguf(file: ListedFile, { plan, asking, listing: { commit }, folder }: Fetching): Promise<void> {
  if (!plan.inspect || file.size < headBytes || sizeAt(`${folder.blobs}/${file.digest}`) === file.size) return;
  const range = { range: `bytes=0-${headBytes - 1}` };
  const response = await ask(fileUrl(file.path, commit, asking), { headers: range }, asking);
  if (response.status !== 206) return await response.body?.cancel(); // judged when it is opened
  plan.inspect({ gguf: new Uint8Array(await response.arrayBuffer()), where: `${asking.repo}: ${file.path}` });
}

/** Bytes of a GGUF file's beginning by which it is judged before it is fetched. */
const headBytes = 64 << 10;

/** Removes files whose bytes are not those that the hub lists. */
async function dropDamaged(
  files: ListedFile[],
  { plan, commit, folder }: Pick<Fetching, "plan" | "folder"> & { commit: string },
): Promise<void> {
  const cached = files.map((file) => ({ ...file, at: cache.pointerPath(folder, commit, file.path) }))
    .filter(({ at }) => exists(at));
  const total = sum(cached.map(({ at }) => Deno.statSync(at).size));
  let bytes = 0;
  const progress = (more: number) => plan.progress?.({ phase: "check", bytes: bytes += more, total });
  for (const { path, digest, at } of cached) {
    if (await cache.digestOf(at, { like: digest, signal: plan.signal, progress }) === digest) continue;
    plan.note?.(`${path} is damaged: fetching it again`);
    removeQuietly(at);
    removeQuietly(`${folder.blobs}/${digest}`);
  }
}

/** Leaves nothing of a repository of which nothing came. */
function removeEmpty({ root, blobs }: cache.RepoFolder): void {
  try {
    for (const folder of [blobs, root]) Deno.removeSync(folder);
  } catch {
    // Something is in it.
  }
}

/** A file's size, links followed; -1 when it is not there. */
function sizeAt(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch {
    return -1;
  }
}

const sum = (numbers: number[]) => numbers.reduce((total, one) => total + one, 0);
