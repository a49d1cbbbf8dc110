/** `ftl doctor`: what this machine offers, which engine `auto` takes there, and why. Works when any engine is missing. */
import { join } from "node:path";
import type { GpuAbout, GpuEngine } from "../webgpu/device.ts";
import { type CommandLine, type CommandShape, settingsOf } from "./command_line.ts";
import { chooseEngine, engineNames, gpuEngines, mayHaveGpu } from "./engine.ts";
import { gpuBudget } from "./gpu_memory.ts";
import { freeDisk, machineMemory, processor } from "./machine.ts";
import { measureProcessor, type ProcessorSpeed } from "./measure_speed.ts";
import { versionNumber } from "./overview.ts";
import { cacheFolder, huggingFaceCache, modelsFolder } from "./terminal.ts";

export const shape: CommandShape = {
  name: "doctor",
  summary: "Shows the machine, every engine that can compute on it, and which one ftl takes by itself.",
  usage: "",
  most: 0,
  takes: [],
  examples: [
    ["ftl doctor", "what is here"],
    ["ftl doctor --measure", "and what the processor does"],
    ["ftl doctor --json", "the same for a program"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const { json, measure } = settingsOf("doctor", line);
  const findings = await examine({ measure });
  console.log(json ? JSON.stringify(findings, null, 2) : showFindings(findings));
  return 0;
}

/** An engine that cannot be used, and what to do about it. */
export interface Missing {
  error: string;
  hint?: string;
}

export interface Findings {
  version: string;
  machine: {
    system: string;
    arch: string;
    cpu: string;
    cores: number;
    /** Vector extensions, the widest last; empty where the system does not tell. */
    vectors: string[];
    /** Bytes; `limited`: the total is what a container may use. */
    memory: { total: number; available: number; limited: boolean };
    /** Where --measure asked for it. */
    speed?: ProcessorSpeed;
  };
  /** Folders that models come from, and what they hold; `free`: bytes on the disk of the first. */
  folders: { cache: Folder & { weights: number; free?: number }; huggingFace?: Folder };
  engines: { onnx: { version: string } | Missing } & Record<GpuEngine, GpuAbout | Missing>;
  auto: {
    engine: "onnx" | GpuEngine;
    reason: string;
    /** Bytes that training takes at most while max_memory says nothing; of a GPU only. */
    memory?: { bytes: number; reason: string };
  };
}

/** A folder of models. */
interface Folder {
  path: string;
  /** Undefined where it is not there. */
  models?: string[];
}

async function examine({ measure }: { measure: boolean }): Promise<Findings> {
  const engines = {
    onnx: await found(async () => ({ version: (await import("../onnx/runtime.ts")).onnxRuntime().version })),
    dawn: await found(() => inspect("dawn")),
    webgpu: await found(() => inspect("webgpu")),
  };
  const chosen = await chooseEngine("auto", {
    mayHaveGpu,
    // deno-lint-ignore require-await
    async inspect(engine) {
      const seen = engines[engine];
      if ("error" in seen) throw new Error(seen.error);
      return seen;
    },
  });
  const memory = chosen.kind === "onnx" ? undefined : await gpuBudget(chosen.about, { wanted: "auto" });
  return {
    version: versionNumber,
    machine: { ...machine(), speed: measure ? await measureProcessor() : undefined },
    folders: folders(),
    engines,
    auto: { engine: chosen.kind, reason: chosen.reason, memory },
  };
}

async function inspect(engine: GpuEngine): Promise<GpuAbout> {
  return await (await import("../webgpu/device.ts")).inspectGpu(engine);
}

async function found<T>(look: () => Promise<T>): Promise<T | Missing> {
  try {
    return await look();
  } catch (error) {
    const { message, hint } = error as Error & { hint?: string };
    return { error: String(message ?? error).trim().split("\n", 1)[0], hint };
  }
}

function machine(): Findings["machine"] {
  const { name, cores, vectors } = processor();
  return { system: systemName(), arch: Deno.build.arch, cpu: name, cores, vectors, memory: machineMemory() };
}

function folders(): Findings["folders"] {
  const path = cacheFolder(), weights = names(join(path, "weights")) ?? [];
  const bytes = weights.reduce((sum, name) => sum + Deno.statSync(join(path, "weights", name)).size, 0);
  const hub = huggingFaceCache();
  return {
    cache: { path, models: names(modelsFolder()), weights: bytes, free: freeDisk(path) },
    huggingFace: hub === undefined ? undefined : { path: hub, models: repositories(hub) },
  };
}

/** "models--org--name" -> "org/name" */
function repositories(hub: string): string[] | undefined {
  return names(hub)?.filter((name) => name.startsWith("models--"))
    .map((name) => name.slice("models--".length).replace("--", "/"));
}

function names(folder: string): string[] | undefined {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch {
    return undefined;
  }
}

function systemName(): string {
  const kernel = `${Deno.build.os} ${Deno.osRelease()}`;
  try {
    const name = /^PRETTY_NAME="?([^"\n]+)/m.exec(Deno.readTextFileSync("/etc/os-release"))?.[1];
    return name ? `${name} (${kernel})` : kernel;
  } catch {
    return kernel;
  }
}

export function showFindings({ version, machine, folders: { cache, huggingFace }, engines, auto }: Findings): string {
  const { system, arch, cpu, cores, vectors, memory, speed } = machine;
  const blocks: [string, string[]][] = [
    ["ftl", [version]],
    ["machine", [
      system,
      `${cpu}, ${arch}, ${cores} cores${vectors.length > 0 ? `, ${vectors.join(" ")}` : ""}`,
      `${gib(memory.total)} memory${memory.limited ? " (what this container may use)" : ""}, ${
        gib(memory.available)
      } free`,
      ...(speed ? [`products ${speed.gflops} GFLOP/s, memory ${speed.gbs} GB/s (copied)`] : []),
    ]],
    ["folders", [
      `${cache.path}: ${listed(cache.models)}, ${gib(cache.weights)} of prepared weights` +
      (cache.free === undefined ? "" : `; ${gib(cache.free)} free on that disk`),
      ...(huggingFace ? [`${huggingFace.path}: ${listed(huggingFace.models)}`] : []),
    ]],
    [
      "onnx",
      "error" in engines.onnx ? missing(engines.onnx) : [
        `ONNX Runtime ${engines.onnx.version} on the CPU`,
        `answers: WebAssembly SIMD, ${cores} ${cores === 1 ? "thread" : "threads"}`,
      ],
    ],
    ...gpuEngines.map((kind): [string, string[]] => {
      const about = engines[kind];
      return [kind, "error" in about ? missing(about) : showAdapter(about)];
    }),
    ["auto", [
      `takes ${auto.engine} (${engineNames[auto.engine]}): ${auto.reason}`,
      ...(auto.memory ? [`training may use ${gib(auto.memory.bytes)}: ${auto.memory.reason}`] : []),
    ]],
  ];
  return blocks.map(([name, lines]) => lines.map((line, i) => (i === 0 ? name : "").padEnd(10) + line).join("\n"))
    .join("\n\n");
}

function listed(models: string[] | undefined): string {
  if (models === undefined) return "not there";
  if (models.length === 0) return "no models";
  const shown = models.slice(0, 3).join(", ");
  return models.length > 3 ? `${shown} and ${models.length - 3} more` : shown;
}

function missing({ error, hint }: Missing): string[] {
  return [error, ...(hint ? [`try: ${hint}`] : [])];
}

function showAdapter({ engine, name, vendor, driver, software, limits, ...can }: GpuAbout): string[] {
  const yes = (value: boolean) => value ? "yes" : "no";
  const { min, max } = can.subgroupSize;
  const lanes = max === 0 ? "" : min === max ? ` of ${max} lanes` : ` of ${min} to ${max} lanes`;
  return [
    `${engineNames[engine]} on ${name}${software ? ": software, for tests only" : ""}`,
    [vendor && `vendor ${vendor}`, driver && `driver ${driver}`].filter((part) => part).join(", "),
    `f16 ${yes(can.f16)}, tensor cores ${yes(can.matrix)}, subgroups ${yes(can.subgroups)}${
      can.subgroups ? lanes : ""
    }, ` +
    `timestamps ${yes(can.timestamps)}`,
    `largest buffer ${gib(limits.maxBufferSize)}, largest binding ${gib(limits.maxStorageBufferBindingSize)}`,
  ].filter((line) => line !== "");
}

/** 134217728 -> "0.125 GiB", 25000000000 -> "23.3 GiB" */
function gib(bytes: number): string {
  const value = bytes / 2 ** 30;
  return `${value < 1 ? Number(value.toFixed(3)) : value.toFixed(value < 100 ? 1 : 0)} GiB`;
}
