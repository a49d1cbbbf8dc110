/**
 * The table of `--profile`: where a run's time on the GPU went, kernel by kernel, and how near each comes to what the
 * device can do. Renders; measures nothing.
 */
import type { Ceilings } from "../webgpu/ceilings.ts";
import type { KernelProfile } from "../webgpu/profile.ts";
import { showBytes } from "./terminal.ts";

export interface ProfileOptions {
  /** Time of the steps by the clock, in ms: what is more than the kernels' was spent outside of them. */
  wallMs?: number;
  ceilings?: Partial<Ceilings>;
  /** Bytes that the memory plan expects, and most bytes of all buffers. */
  memory?: { planned: number; peak: number };
  /** Kernels shown; the others are summed up in one line. */
  most?: number;
}

type Cells = [calls: string, ms: string, share: string, tflops: string, gbs: string, ceiling: string, kernel: string];

const titles: Cells = ["calls", "ms", "share", "TFLOP/s", "GB/s", "of ceiling", "kernel"];

/** The kernels, longest first, with their sum in the last line. */
export function showProfile(
  kernels: KernelProfile[],
  { wallMs, ceilings = {}, memory, most = 25 }: ProfileOptions = {},
): string {
  if (kernels.length === 0) return "no kernel was timed";
  const total = sumOf(kernels, ({ ms }) => ms);
  const share = (ms: number) => `${(100 * ms / total).toFixed(1)}%`;
  const sorted = kernels.toSorted((a, b) => b.ms - a.ms);
  const line = (kernel: KernelProfile): Cells => [
    ...[String(kernel.calls), kernel.ms.toFixed(1), share(kernel.ms)] as const,
    ...[rate(kernel.tflops), rate(kernel.gbs), ofCeiling(kernel, ceilings), kernel.kernel] as const,
  ];
  const summed = (name: string, some: KernelProfile[]): Cells => {
    const ms = sumOf(some, ({ ms }) => ms);
    return [String(sumOf(some, ({ calls }) => calls)), ms.toFixed(1), share(ms), "", "", "", name];
  };
  const others = sorted.slice(most);
  const rows = [
    titles,
    ...sorted.slice(0, most).map(line),
    ...(others.length > 0 ? [summed(`${others.length} others`, others)] : []),
    summed("sum", kernels),
  ];
  return [table(rows), ...notes({ total, wallMs, ceilings, memory })].join("\n");
}

/** The nearer of the two limits: a kernel is held up by memory or by arithmetic. */
function ofCeiling({ tflops, gbs }: KernelProfile, ceilings: Partial<Ceilings>): string {
  const parts = [tflops / (ceilings.tflops ?? NaN), gbs / (ceilings.gbs ?? NaN)].filter(Number.isFinite);
  return parts.length === 0 ? "" : `${Math.round(100 * Math.max(...parts))}%`;
}

function notes(
  { total, wallMs, ceilings = {}, memory }: { total: number } & Omit<ProfileOptions, "most">,
): string[] {
  const { tflops, gbs } = ceilings;
  const reached = [
    ...(tflops === undefined ? [] : [`${rate(tflops)} TFLOP/s in a large product`]),
    ...(gbs === undefined ? [] : [`${rate(gbs)} GB/s in a large copy`]),
  ];
  const share = (part: number) => `${(100 * part).toFixed(0)}%`;
  return [
    ...(reached.length > 0 ? [`ceiling: ${reached.join(", ")}, measured on this device`] : []),
    ...(wallMs === undefined ? [] : [`by the clock ${wallMs.toFixed(1)} ms: kernels ${share(total / wallMs)}`]),
    ...(memory ? [`memory: buffers of ${showBytes(memory.peak)} at most, ${showBytes(memory.planned)} planned`] : []),
  ];
}

/** Columns with two spaces between them. Names with their constants are long and come last. */
function table(rows: Cells[]): string {
  const widths = titles.map((_, i) => Math.max(...rows.map((cells) => cells[i].length)));
  return rows.map((cells) =>
    cells.map((cell, i) => i === titles.length - 1 ? cell : cell.padStart(widths[i])).join("  ")
  ).join("\n");
}

/** 231.4 -> "231", 0.5123 -> "0.51", 0.00123 -> "0.0012"; nothing where a kernel does not say what it does. */
function rate(value: number): string {
  if (!Number.isFinite(value)) return "";
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2);
}

function sumOf<T>(values: T[], of: (value: T) => number): number {
  return values.reduce((sum, value) => sum + of(value), 0);
}
