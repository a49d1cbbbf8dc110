/**
 * Names of repositories on a model hub as people write them, and names of files in such a repository's listing. Both
 * come from outside and end up as paths on this machine, so what is not plainly a name is none.
 */

export interface RepoName {
  /** "org/name" */
  repo: string;
  /** Branch, tag or commit; absent: main. */
  revision?: string;
  /** Which of several GGUF files: "Q4_K_M". */
  quant?: string;
  /** One GGUF file of the repository. */
  file?: string;
}

/** Addresses that are copied from a browser or from other tools. */
const prefix = /^(?:https?:\/\/)?(?:www\.)?(?:huggingface\.co|hf\.co)\/|^hf:\/\/(?:models\/)?/i;

/** First words of the hub's own pages, and folders of ours: never the owner of a model. */
const reserved = new Set(["models", "datasets", "spaces", "api", "docs", "runs"]);

/** Files that people mean, rather than a repository of such a name. */
const fileEnding =
  /\.(gguf|safetensors|bin|pth?|ckpt|onnx|zip|gz|jsonl?|ya?ml|csv|tsv|txt|md|html?|pdf|docx?|xlsx?|ods|parquet)$/i;

/**
 * "org/name", "org/name@revision", "org/name:Q4_K_M", "org/name/file.gguf", these with "@revision" behind, and the
 * address of a repository or of a file in it. Undefined for everything else, paths among it.
 */
export function parseRepoName(text: string): RepoName | undefined {
  const address = prefix.exec(text)?.[0];
  const rest = address ? text.slice(address.length).replace(/[?#].*$/s, "").replace(/\/$/, "") : text;
  const page = address && /^([^/]+\/[^/@:]+)\/(?:tree|blob|resolve)\/([^/]+)(?:\/(.+))?$/.exec(rest);
  if (page) {
    const [, repo, revision, file] = page;
    return checked({ repo, revision: decode(revision), file: file === undefined ? undefined : decode(file) });
  }
  const match = /^([^/@:]+\/[^/@:]+)(?:\/([^@:]+))?(?::([^/@:]+))?(?:@([^@:]+))?(?::([^/@:]+))?$/.exec(rest);
  if (!match) return undefined;
  const [, repo, file, quant, revision, lastQuant] = match;
  const several = [file, quant, lastQuant].filter((one) => one !== undefined).length > 1;
  if (several || (!address && fileEnding.test(repo))) return undefined;
  return checked({ repo, revision, quant: quant ?? lastQuant, file });
}

export interface DatasetName extends Pick<RepoName, "repo" | "revision"> {
  config?: string;
  split?: string;
}

/**
 * "org/name", ":split", ":config/split" or ":config/" behind where one of several is meant, and "@revision"; before it
 * "datasets/" or the address of the hub. Undefined for everything else.
 */
export function parseDatasetName(text: string): DatasetName | undefined {
  const name = text.replace(/^hf:\/\/datasets\//i, "").replace(prefix, "").replace(/^datasets\//, "");
  const match = /^([^:@]+)(?:@([^:@]+))?(?::(?:(\w[\w.-]{0,99})\/)?((?:\w[\w.-]{0,99})?))?(?:@([^:@]+))?$/.exec(name);
  if (!match) return undefined;
  const [, repo, before, config, split, after] = match, revision = before ?? after;
  const parsed = parseRepoName(repo + (revision === undefined ? "" : `@${revision}`));
  if (!parsed || parsed.file || (before && after) || (split === "" && config === undefined)) return undefined;
  return { ...parsed, ...(config && { config }), ...(split && { split }) };
}

/** Whether a path is meant: what it begins with is here. Then nobody is asked about it, and a slip of the keys stays here. */
export function isPathHere(text: string): boolean {
  try {
    Deno.statSync(text.split(/[/\\]/)[0]);
    return true;
  } catch {
    return false;
  }
}

/** How a person would write it again. */
export function showRepoName({ repo, revision, quant, file }: RepoName): string {
  return repo + (file ? `/${file}` : "") + (quant ? `:${quant}` : "") + (revision ? `@${revision}` : "");
}

/** The same of a dataset, without "datasets/". */
export function showDatasetName({ repo, revision, config, split }: DatasetName): string {
  const part = config ? `:${config}/${split ?? ""}` : split ? `:${split}` : "";
  return repo + (revision ? `@${revision}` : "") + part;
}

function checked(name: RepoName): RepoName | undefined {
  const [owner, own] = name.repo.split("/");
  if (reserved.has(owner.toLowerCase()) || !isNamePart(owner) || !isNamePart(own)) return undefined;
  if (name.revision !== undefined && !isRevision(name.revision)) return undefined;
  if (name.quant !== undefined && !/^\w[\w.-]{0,63}$/.test(name.quant)) return undefined;
  if (name.file !== undefined && !(isSafePath(name.file) && /\.gguf$/i.test(name.file))) return undefined;
  for (const key of ["revision", "quant", "file"] as const) if (name[key] === undefined) delete name[key];
  return name;
}

/** The hub's own rule for owners and names; "--" is what joins them in the cache's folder names. */
function isNamePart(part: string): boolean {
  return /^\w(?:[\w.-]{0,94}\w)?$/.test(part) && !/--|\.\.|\.git$/.test(part);
}

/** Branches may hold slashes ("refs/pr/1"); the name becomes a path in the cache, so no step of it may lead upwards. */
function isRevision(text: string): boolean {
  return text.length <= 200 && /^\w[\w.+/-]*$/.test(text) && isSafePath(text);
}

export const isCommit = (text: string) => /^[0-9a-f]{40}$/.test(text);

/**
 * Whether a path of a listing stays inside its folder on every system: relative, "/" between names, no "..", no drive
 * or stream (":"), no backslash, no control characters, none of Windows' device names.
 */
export function isSafePath(path: string): boolean {
  return path.length <= 1000 &&
    path.split("/").every((name) =>
      name !== "" && name.length <= 255 && !/^\.{1,2}$/.test(name) && !/[. ]$/.test(name) &&
      // deno-lint-ignore no-control-regex
      !/[\\:*?"<>|\u0000-\u001f\u007f]/.test(name) &&
      !/^(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\.|$)/i.test(name)
    );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
