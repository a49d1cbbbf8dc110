/**
 * What a repository holds at a revision: its commit, and path, size and digest of every file. Asked of the hub through
 * @huggingface/hub (which knows the addresses and the pages of a listing), each answer checked before it is believed:
 * commits and digests become file names here.
 */
import { UserError } from "../errors.ts";
import { ask, type Asking, UnreachableError } from "./request.ts";
import { isCommit } from "./repo_name.ts";

export interface ListedFile {
  /** Below the repository, with "/". Not yet known to be safe as a path here. */
  path: string;
  size: number;
  /** Sha256 (64 digits) of a large file, git's id (40 digits) of one that lies in git itself. */
  digest: string;
}

export interface Listing {
  commit: string;
  files: ListedFile[];
}

/** Entries after which a listing counts as endless. */
const mostFiles = 200_000;

/** Throws UserError for a repository or revision that is not there or not open to this user. */
export async function listRepo(revision: string, asking: Asking): Promise<Listing> {
  // Loaded only where the network is used.
  const { datasetInfo, listFiles, modelInfo } = await import("@huggingface/hub");
  const { hub, repo, kind } = asking;
  // The token goes in by `ask`: the library takes none but those that begin with "hf_".
  const common = {
    hubUrl: hub.endpoint,
    fetch: (url: string | URL | Request, init?: RequestInit) => ask(url as string | URL, init ?? {}, asking),
  };
  try {
    const info = { ...common, name: repo, revision, additionalFields: ["sha"] as ["sha"] };
    const { sha: commit } = kind === "model" ? await modelInfo(info) : await datasetInfo(info);
    if (typeof commit !== "string" || !isCommit(commit)) throw new TypeError("no commit");
    const files: ListedFile[] = [];
    const entries = listFiles({ ...common, repo: { type: kind, name: repo }, revision: commit, recursive: true });
    for await (const { type, path, size, oid, lfs } of entries) {
      if (type !== "file") continue;
      const file = { path, size: lfs?.size ?? size, digest: lfs?.oid ?? oid ?? "" };
      if (!isListed(file) || files.length >= mostFiles) throw new TypeError(`entry ${files.length + 1}`);
      files.push(file);
    }
    return { commit, files };
  } catch (error) {
    asking.signal?.throwIfAborted();
    if (error instanceof SyntaxError || error instanceof TypeError) {
      throw new UnreachableError(`${new URL(hub.endpoint).host} does not answer as a model hub does`, {
        hint: "Check HF_ENDPOINT, and whether a proxy or a login page of the network answers instead",
        cause: error,
      });
    }
    throw error;
  }
}

export function isListed(file: ListedFile): boolean {
  return typeof file.path === "string" && Number.isSafeInteger(file.size) && file.size >= 0 &&
    typeof file.digest === "string" && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(file.digest);
}

/** Address of a file's bytes; the hub answers itself or sends to the store where large files lie. */
export function fileUrl(path: string, commit: string, { hub, repo, kind }: Asking): string {
  const steps = path.split("/").map(encodeURIComponent).join("/");
  return `${hub.endpoint}/${kind === "dataset" ? "datasets/" : ""}${repo}/resolve/${commit}/${steps}`;
}

/** The files of these paths, in their order. UserError for one that the listing lacks. */
export function filesAt(paths: string[], { files }: Listing, repo: string): ListedFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  return paths.map((path) => {
    const file = byPath.get(path);
    if (file) return file;
    throw new UserError(`${repo} lacks ${path}, which belongs to its weights`, {
      hint: "The repository is incomplete: take another revision or another copy of the model",
    });
  });
}
