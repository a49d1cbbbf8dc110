/**
 * What this machine is, as far as a run depends on it: memory, with the limit of a container; the processor's vectors;
 * room on a disk. Nothing here computes or loads an engine.
 */
import { dirname } from "node:path";
import { cpus } from "node:os";
import { freeBytes } from "../files/space.ts";
import { systemText } from "./system_files.ts";

export interface MachineMemory {
  /** Bytes that processes here may hold together: the machine's, or a container's limit where that is less. */
  total: number;
  available: number;
  /** Where the total is a container's limit. */
  limited: boolean;
}

export function machineMemory(memory: Deno.SystemMemoryInfo = Deno.systemMemoryInfo()): MachineMemory {
  // On Windows Deno leaves `available` 0 and calls it `free`.
  const { total } = memory, available = memory.available || memory.free, limit = cgroupLimit();
  if (limit === undefined || limit.bytes >= total) return { total, available, limited: false };
  return { total: limit.bytes, available: Math.min(available, Math.max(0, limit.bytes - limit.used)), limited: true };
}

const cgroups = "/sys/fs/cgroup";

/** What the control group of this process, or one above it, allows. `read` gives a file's text, or throws. */
export function cgroupLimit(
  read: (path: string) => string = systemText,
): { bytes: number; used: number } | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const number = (path: string) => {
    try {
      const text = read(path).trim();
      return /^\d+$/.test(text) ? Number(text) : undefined; // "max": no limit
    } catch {
      return undefined;
    }
  };
  let own = "";
  try {
    own = read("/proc/self/cgroup");
  } catch {
    // No control groups here.
  }
  const files = own.split("\n").flatMap((line) => {
    const [, controllers, path] = line.split(":");
    if (path === undefined) return [];
    const [root, limit, used] = controllers === ""
      ? [cgroups, "memory.max", "memory.current"]
      : controllers.split(",").includes("memory")
      ? [`${cgroups}/memory`, "memory.limit_in_bytes", "memory.usage_in_bytes"]
      : [];
    if (!root) return [];
    // Inside a container its own group is mounted as the root, whatever the path says.
    const folders = [root];
    for (let folder = path; folder !== "/" && folder !== "."; folder = dirname(folder)) folders.push(root + folder);
    return folders.map((folder) => ({ limit: `${folder}/${limit}`, used: `${folder}/${used}` }));
  });
  let least: { bytes: number; used: number } | undefined;
  for (const file of files) {
    const bytes = number(file.limit);
    if (bytes !== undefined && bytes < (least?.bytes ?? Infinity)) least = { bytes, used: number(file.used) ?? 0 };
  }
  return least;
}

export interface Processor {
  name: string;
  cores: number;
  /** Vector extensions that products are fast with, the widest last; empty where the system does not tell. */
  vectors: string[];
}

const vectorFlags = { avx: "AVX", avx2: "AVX2", fma: "FMA", f16c: "F16C", avx512f: "AVX-512", amx_tile: "AMX" };

export function processor(): Processor {
  const name = cpus()[0]?.model.trim().replace(/\s+/g, " ") || "unknown CPU";
  return { name, cores: navigator.hardwareConcurrency, vectors: vectors() };
}

function vectors(): string[] {
  if (Deno.build.arch === "aarch64") return ["NEON"];
  try {
    const flags = /^flags\s*:(.*)$/m.exec(systemText("/proc/cpuinfo"))?.[1].trim().split(" ") ?? [];
    return Object.entries(vectorFlags).filter(([flag]) => flags.includes(flag)).map(([, name]) => name);
  } catch {
    return [];
  }
}

/** Bytes free for this user on the disk that a path is on, or will be on. Undefined where the system does not tell. */
export function freeDisk(path: string): number | undefined {
  for (let folder = path;; folder = dirname(folder)) {
    const free = freeBytes(folder);
    if (free !== undefined || folder === dirname(folder)) return free;
  }
}
