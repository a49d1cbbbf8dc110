/** What a person reads of a plan. */
import type { MemoryPlan } from "../model/plan.ts";
import { showCount } from "./load.ts";
import type { Alternative } from "./plan_alternatives.ts";
import type { DiskPlan } from "./plan_disk.ts";
import { showBytes, showSeconds } from "./terminal.ts";

export interface RunPlan {
  fits: boolean;
  /** Why not. */
  problem?: string;
  model: { name: string; parameters: number; layers: number };
  adapter: { r: number; modules: number; trained: number };
  engine: { kind: "onnx" | "dawn" | "webgpu"; name: string; reason: string };
  /** Bytes at the peak, by part; what is free now, of the machine's memory. */
  memory?: { bytes: number; parts: MemoryPlan["parts"]; available?: number };
  /** How a step is cut: rows of a pass, number of passes, layers that keep their values, positions with logits. */
  passes?: { rows: number; each: number; keepLayers: number; headChunk: number };
  step: { rows: number; tokens: number; from: string; seconds?: number };
  run: { steps?: number; rows?: number; seconds?: number };
  /** Where times come from. */
  speed?: string;
  disk: DiskPlan;
  alternatives: Alternative[];
}

const partNames: Record<keyof MemoryPlan["parts"], string> = {
  runtime: "program",
  weights: "frozen weights",
  adapter: "adapter, gradients, optimiser",
  activations: "kept activations",
  work: "work",
};

export function showPlan(plan: RunPlan): string {
  const { model, adapter, engine, memory, step } = plan;
  const blocks: [string, string[]][] = [
    ["model", [`${model.name}, ${showCount(model.parameters)} parameters, frozen in 4-bit NF4`]],
    ["adapter", [`r ${adapter.r}, ${adapter.modules} modules: ${showCount(adapter.trained)} trained`]],
    ["engine", [`${engine.name}: ${engine.reason}`]],
    ["step", [`${step.rows} rows, ${step.tokens} tokens (${step.from})`, ...showPasses(plan)]],
    [
      "memory",
      memory
        ? [
          `${gib(memory.bytes)} expected at most${
            memory.available === undefined ? "" : `, ${gib(memory.available)} free now`
          }`,
          ...Object.entries(memory.parts).map(([part, bytes]) =>
            `  ${gib(bytes).padStart(9)}  ${partNames[part as keyof typeof partNames]}`
          ),
        ]
        : [plan.problem ?? "it does not fit"],
    ],
    ["time", showTime(plan)],
    ["disk", showDisk(plan.disk)],
    ...(plan.alternatives.length > 0
      ? [[memory ? "or" : "try", plan.alternatives.map(showAlternative)] as [string, string[]]]
      : []),
  ];
  return blocks.flatMap(([name, lines]) => lines.map((line, i) => (i === 0 ? name : "").padEnd(10) + line)).join("\n");
}

function showPasses({ passes, model }: RunPlan): string[] {
  if (!passes) return [];
  const cut = passes.each === 1 ? "in one pass" : `in ${passes.each} passes of at most ${passes.rows} rows`;
  const kept = passes.keepLayers === model.layers
    ? "every layer keeps its values"
    : `${passes.keepLayers} of ${model.layers} layers keep their values, the others are computed again`;
  return [`${cut}; ${kept}`];
}

function showTime({ step, run, speed }: RunPlan): string[] {
  if (step.seconds === undefined) return ["unknown: nothing was measured"];
  const rate = Math.round(step.tokens / step.seconds);
  const lines = [`about ${seconds(step.seconds)} a step, ${rate} tokens/s (${speed})`];
  if (run.seconds !== undefined) {
    lines.push(`about ${showSeconds(run.seconds)} for ${run.steps} steps, beside loading and measuring`);
  } else lines.push("name the data for the time of the whole run");
  return lines;
}

function showDisk({ cache, checkpoints, adapter, exports, free }: DiskPlan): string[] {
  const parts = [
    cache > 0 ? `${showBytes(cache)} quantised weights, kept in the cache` : "the quantised weights are in the cache",
    `${showBytes(checkpoints)} checkpoints`,
    `${showBytes(adapter)} adapter`,
    ...(exports > 0 ? [`${showBytes(exports)} exports`] : []),
  ];
  const run = checkpoints + adapter + exports, lines = [parts.join(", ")];
  const short = (need: number, there?: number) => there !== undefined && need > there;
  if (short(cache, free.cache)) lines.push(`too little room for the cache: ${showBytes(free.cache!)} free`);
  if (short(run, free.run)) lines.push(`too little room for the run: ${showBytes(free.run!)} free`);
  return lines;
}

function showAlternative({ settings, bytes, seconds: time, ratio, why }: Alternative): string {
  const flags = Object.entries(settings).map(([name, value]) => `${name} ${value}`).join(", ");
  const change = ratio === undefined
    ? time === undefined ? "" : `, ${seconds(time)} a step`
    : Math.abs(ratio - 1) < 0.02
    ? ", as fast"
    : ratio < 1
    ? `, ${percent(1 / ratio - 1)} faster`
    : `, ${percent(ratio - 1)} slower`;
  return `${flags}: ${gib(bytes)}${change}${why === undefined ? "" : `, ${why}`}`;
}

const percent = (share: number) => `${Math.round(100 * share)} %`;

function seconds(value: number): string {
  return value < 1 ? `${(1000 * value).toFixed(0)} ms` : value < 100 ? `${value.toPrecision(2)} s` : showSeconds(value);
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
