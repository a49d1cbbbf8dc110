/**
 * Which engine computes. `auto` takes Dawn where it finds a graphics card, else Deno's own WebGPU with one, else ONNX
 * Runtime on the CPU; what is missing or broken is then no error. An engine asked for by name is used or refused. What
 * belongs to GPUs is loaded only when it is looked for, so that runs on the CPU do not pay for it.
 */
import { UserError } from "../errors.ts";
import type { GpuAbout, GpuEngine } from "../webgpu/device.ts";
import type { Settings } from "./options.ts";
import { systemNames } from "./system_files.ts";

export type WantedEngine = Settings<"train">["engine"];

export type ChosenEngine =
  | { kind: "onnx"; reason: string }
  | { kind: GpuEngine; about: GpuAbout; reason: string };

/** What an engine is called before people. */
export const engineNames = { dawn: "Dawn", webgpu: "Deno's WebGPU", onnx: "ONNX Runtime" } as const;

/** In the order of preference. */
export const gpuEngines: GpuEngine[] = ["dawn", "webgpu"];

export interface Machine {
  /** What an engine's adapter is. Throws when there is none. */
  inspect(engine: GpuEngine): Promise<GpuAbout>;
  /** Whether the machine may have a graphics card at all, found out without loading a driver. */
  mayHaveGpu(): boolean;
}

const thisMachine: Machine = {
  inspect: async (engine) => await (await import("../webgpu/device.ts")).inspectGpu(engine),
  mayHaveGpu,
};

/** The engine to use and why. UserError when one that was asked for by name cannot be used. */
export async function chooseEngine(wanted: WantedEngine, machine: Machine = thisMachine): Promise<ChosenEngine> {
  if (wanted === "onnx") return { kind: "onnx", reason: "asked for" };
  if (wanted !== "auto") return { kind: wanted, about: await inspectWanted(wanted, machine), reason: "asked for" };
  if (!machine.mayHaveGpu()) return { kind: "onnx", reason: "this machine has no graphics device" };
  const refusals: string[] = [];
  for (const kind of gpuEngines) {
    try {
      const about = await machine.inspect(kind);
      if (!about.software && about.subgroups) {
        const reason = refusals.length === 0
          ? `it finds ${about.name}`
          : `${refusals.join("; ")}; it finds ${about.name}`;
        return { kind, about, reason };
      }
      refusals.push(`${engineNames[kind]} finds only ${about.software ? "software" : "an old driver"} (${about.name})`);
    } catch (error) {
      refusals.push(firstLine(error));
    }
  }
  return { kind: "onnx", reason: refusals.join("; ") };
}

/** An adapter without subgroups is OpenGL's, on which kernels take minutes to compile: its driver lacks Vulkan. */
async function inspectWanted(engine: GpuEngine, machine: Machine): Promise<GpuAbout> {
  const about = await machine.inspect(engine);
  if (about.subgroups) return about;
  throw new UserError(`${engineNames[engine]} finds only an old driver (${about.name})`, {
    hint: "Install the GPU's driver (on Linux also its Vulkan part and the Vulkan loader), or use --engine onnx.",
  });
}

/** Device files that Linux drivers of graphics cards need, beside /dev/dri. */
const deviceFiles = /^(nvidia\d+|dxg|kgsl-3d\d+|mali\d+)$/;

/** Whether there may be a graphics card. Systems other than Linux always have something to ask. */
export function mayHaveGpu(): boolean {
  if (Deno.build.os !== "linux") return true;
  return systemNames("/dev").some((name) => deviceFiles.test(name)) ||
    systemNames("/dev/dri").some((name) => name.startsWith("renderD"));
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split("\n", 1)[0];
}
