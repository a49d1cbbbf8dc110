/** How much of a graphics card's memory training may use. */
import type { GpuAbout } from "../webgpu/device.ts";

const GiB = 2 ** 30, MiB = 2 ** 20;

export interface GpuBudget {
  bytes: number;
  /** Where the number comes from. */
  reason: string;
}

/**
 * Bytes that training may use on a GPU. WebGPU tells no device its memory: max_memory where it is given, else nine
 * tenths of what NVIDIA's own tool calls free, else two of the largest buffers, at most 8 GiB and at most half of the
 * machine's memory, which integrated cards share. What is free is rounded down to 2 GiB (and to all of it where
 * next to nothing is in use), so that a run repeats bit for bit though a desktop uses somewhat more or less.
 */
export async function gpuBudget(
  { name, limits }: Pick<GpuAbout, "name" | "limits">,
  { wanted, ask = nvidiaSmi, machine = Deno.systemMemoryInfo().total }: {
    wanted: number | "auto";
    ask?: () => Promise<string>;
    machine?: number;
  },
): Promise<GpuBudget> {
  if (wanted !== "auto") return { bytes: wanted * GiB, reason: "max_memory" };
  const memory = nvidiaMemory(await ask().catch(() => ""), name);
  if (memory) {
    const { free, total } = memory;
    const usable = free > 0.9 * total ? total : Math.max(GiB, Math.floor(free / (2 * GiB)) * 2 * GiB);
    return { bytes: 0.9 * usable, reason: `nine tenths of the ${gib(usable)} free` };
  }
  const bytes = Math.min(8 * GiB, 2 * limits.maxBufferSize, machine / 2);
  return { bytes, reason: "a guess, since the driver does not tell; max_memory sets it" };
}

/** The card's lines of nvidia-smi: of several cards the one of this name with least free, since which it is is not told. */
function nvidiaMemory(text: string, name: string): { free: number; total: number } | undefined {
  const same = (a: string) => a.toLowerCase().replace(/[^a-z0-9]/g, "");
  const cards = text.trim().split("\n").map((line) => line.split(",").map((part) => part.trim()))
    .filter((parts) => parts.length === 3 && parts.slice(1).every((part) => /^\d+$/.test(part)))
    .map(([card, free, total]) => ({ card, free: Number(free) * MiB, total: Number(total) * MiB }));
  const named = cards.filter(({ card }) => same(name).includes(same(card)) || same(card).includes(same(name)));
  return named.toSorted((a, b) => a.free - b.free)[0];
}

async function nvidiaSmi(): Promise<string> {
  const { stdout } = await new Deno.Command("nvidia-smi", {
    args: ["--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"],
    stdout: "piped",
    stderr: "null",
    signal: AbortSignal.timeout(5000),
  }).output();
  return new TextDecoder().decode(stdout);
}

function gib(bytes: number): string {
  return `${(bytes / GiB).toFixed(1)} GiB`;
}
