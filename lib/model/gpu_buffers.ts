/**
 * Every buffer of a training run on a GPU, by shape, before anything is loaded: the one place where the memory plan's
 * numbers come from, and what an executor's own count can be compared with. Letters as in lib/ops.ts.
 */
import { type LoraSettings, parameterPlaces } from "./adapter.ts";
import type { ModelConfig } from "./config.ts";
import { modelTensors, projectionShape } from "./names.ts";

export type GpuPart = "weights" | "adapter" | "activations" | "work";

/** When a buffer of "work" is in use; those of different phases share memory. Absent: all the time. */
export type GpuPhase = "forward" | "head" | "feed-forward backward" | "attention backward" | "row norms";

export interface GpuBuffer {
  part: GpuPart;
  name: string;
  shape: number[];
  dtype: "f32" | "f16" | "i32" | "u8";
  /** How many of them there are. */
  count: number;
  phase?: GpuPhase;
}

/** What is known of a run before it is cut into passes. */
export interface ModelRun {
  config: ModelConfig;
  lora: Pick<LoraSettings, "r" | "use_dora" | "target_modules" | "lora_dropout">;
  /** Bytes of optimiser state for each trained element: 2 with 8-bit AdamW, 8 with AdamW. */
  stateBytes: number;
  /** Weights of projections that are not in 4 bits, by name: what a 4-bit checkpoint leaves in 16. */
  unquantised: ReadonlySet<string>;
  /** Whether the device computes with f16 operands. */
  f16: boolean;
  /** Bytes of the largest binding: larger weights are written out in parts. */
  maxBinding: number;
}

export interface GpuRun extends ModelRun {
  /** Tokens of the largest pass, layers that keep their values, labelled positions whose logits exist at one time. */
  tokens: number;
  keepLayers: number;
  headChunk: number;
}

const bytesOf = { f32: 4, f16: 2, i32: 4, u8: 1 };

export function elementsOf({ shape }: Pick<GpuBuffer, "shape">): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Bytes of one of them. */
export function bufferBytes(buffer: Pick<GpuBuffer, "shape" | "dtype">): number {
  return elementsOf(buffer) * bytesOf[buffer.dtype];
}

/** Bytes by part at the peak: of the phases, the one that needs most. */
export function peakBytes(buffers: GpuBuffer[]): Record<GpuPart, number> {
  const parts = { weights: 0, adapter: 0, activations: 0, work: 0 };
  const phases = new Map<GpuPhase, number>();
  for (const buffer of buffers) {
    const bytes = bufferBytes(buffer) * buffer.count;
    if (buffer.phase) phases.set(buffer.phase, (phases.get(buffer.phase) ?? 0) + bytes);
    else parts[buffer.part] += bytes;
  }
  parts.work += Math.max(0, ...phases.values());
  return parts;
}

export function gpuBuffers(run: GpuRun): GpuBuffer[] {
  return [...modelBuffers(run), ...passBuffers(run)];
}

/** Weights and adapter: what does not depend on the passes. */
export function modelBuffers(run: ModelRun): GpuBuffer[] {
  return [...weightBuffers(run), ...adapterBuffers(run)];
}

/** Activations and work. */
export function passBuffers(run: GpuRun): GpuBuffer[] {
  return [...activationBuffers(run), ...workBuffers(run)];
}

type Row = [name: string, shape: number[], dtype: GpuBuffer["dtype"], count?: number];

function listed(place: Pick<GpuBuffer, "part" | "phase">, rows: Row[]): GpuBuffer[] {
  return rows.filter(([, , , count = 1]) => count > 0)
    .map(([name, shape, dtype, count = 1]) => ({ ...place, name, shape, dtype, count }));
}

/** f16 where the device has it. */
const half = ({ f16 }: ModelRun) => f16 ? "f16" : "f32";

/** Equal tensors of all layers as one line. */
function weightBuffers(run: ModelRun): GpuBuffer[] {
  const lines = new Map<string, { name: string; shape: number[]; kind: "dense" | "nf4" | "small"; count: number }>();
  for (const { name: stored, key, layer, shape, role } of modelTensors(run.config)) {
    const table = role === "embedding" || role === "head";
    const kind = table || run.unquantised.has(stored) ? "dense" : role === "linear" ? "nf4" : "small";
    const name = layer === undefined ? key : `layers.${key}`, line = lines.get(`${name} ${kind}`);
    if (line) line.count++;
    else lines.set(`${name} ${kind}`, { name, shape, kind, count: 1 });
  }
  const rows = [...lines.values()].map(({ name, shape, kind, count }): Row[] => {
    if (kind === "dense") return [[name, shape, half(run), count]];
    if (kind === "small") return [[name, shape, "f32", count]];
    const [O, I] = shape, blocks = Math.ceil(O * I / 64);
    return [
      [`${name}.packed`, [O, I / 2], "u8", count],
      [`${name}.codes`, [blocks], "u8", count],
      [`${name}.nested`, [256 + Math.ceil(blocks / 256)], "f32", count],
    ];
  });
  return listed({ part: "weights" }, rows.flat());
}

function adapterBuffers(run: ModelRun): GpuBuffer[] {
  const { config, lora, stateBytes, f16 } = run;
  const first = parameterPlaces({ ...config, layers: 1 }, lora), count = config.layers;
  const rows = first.flatMap(({ projection, part, shape }): Row[] => {
    const name = `${projection}.${part}`, elements = elementsOf({ shape }), blocks = Math.ceil(elements / 256);
    return [
      [name, shape, "f32", count],
      [`${name}.grad`, shape, "f32", count],
      ...(f16 && shape.length === 2 ? [[`${name}.half`, shape, "f16", count] as Row] : []),
      ...(stateBytes === 2
        ? [[`${name}.state`, shape, "u8", 2 * count], [`${name}.state_absmax`, [blocks], "f32", 2 * count]] as Row[]
        : [[`${name}.state`, shape, "f32", 2 * count]] as Row[]),
    ];
  });
  return listed({ part: "adapter" }, rows);
}

/** What a layer keeps for its backward where it is not computed again: beside t. */
function keptRows(run: GpuRun, count: number): Row[] {
  const { config, tokens: T } = run, { hiddenSize: D, intermediateSize: F, heads, kvHeads, headDim: S } = config;
  const Q = heads * S, K = kvHeads * S, type = half(run);
  return [
    ["q", [T, Q], type, count],
    ["k", [T, K], type, count],
    ["v", [T, K], type, count],
    ["attention", [T, Q], type, count],
    ["lse", [T, heads], "f32", count],
    ["mid", [T, D], "f32", count],
    ["gate", [T, F], type, count],
    ["up", [T, F], type, count],
    ...(config.qkNorm ? [["q_raw", [T, Q], type, count], ["k_raw", [T, K], type, count]] as Row[] : []),
    ...(config.postNorms ? [["o_raw", [T, D], type, count], ["down_raw", [T, D], type, count]] as Row[] : []),
  ];
}

function activationBuffers(run: GpuRun): GpuBuffer[] {
  const { config, tokens: T, keepLayers } = run, { hiddenSize: D, headDim: S, layers } = config;
  const ropes = config.layerTypes.includes("sliding") ? 2 : 1;
  return listed({ part: "activations" }, [
    // Layers that are computed again wait for that with their input in f16.
    ["x", [T, D], "f32", run.f16 ? keepLayers + 2 : layers + 1],
    ["x, packed", [T, D + (D % 4 === 0 ? 4 : 1)], "f16", run.f16 ? layers - keepLayers : 0],
    ["cos, sin", [T, S / 2], "f32", 2 * ropes],
    ["rows", [T, 2], "i32", ropes],
    ["tokens, labels, index", [T], "i32", 3],
    ["t", [T, run.lora.r], half(run), layers * run.lora.target_modules.length],
    ...keptRows(run, keepLayers),
  ]);
}

function workBuffers(run: GpuRun): GpuBuffer[] {
  const { config, lora, tokens: T, headChunk, keepLayers } = run;
  const { hiddenSize: D, intermediateSize: F, vocabSize: V, heads, kvHeads, headDim: S } = config;
  const Q = heads * S, K = kvHeads * S, N = Math.min(headChunk, T), type = half(run);
  const projections = lora.target_modules.map((name) => ({ name, shape: projectionShape(config, name) }));
  // The layer at work has its values even where it does not keep them.
  const again = keepLayers < config.layers ? keptRows(run, 1) : [];
  const lowRank: Row = ["dt", [T, lora.r], type, 3];
  const masks = projections.map(({ name, shape }): Row => [`${name}.dropout`, [T, shape[1]], "f32"]);
  const norms = projections.map(({ name, shape }): Row => [`${name}.norm`, [shape[0]], "f32", config.layers]);
  const largest = Math.max(D * Q, D * F), dequantised = Math.min(run.maxBinding, largest * bytesOf[type]);
  // The gradient through a weight in parts: columns of what came from above, and the sum.
  const inParts = largest * bytesOf[type] > run.maxBinding;
  return [
    ...listed({ part: "work" }, [
      ["weight written out", [dequantised / bytesOf[type]], type],
      ...(inParts ? [["columns", [T, F], type], ["sum of parts", [T, Math.max(Q, F)], "f32"]] as Row[] : []),
      ["dx, dy", [T, D], "f32", 2],
      ...(lora.lora_dropout > 0 ? masks : []),
      ...(lora.use_dora ? norms : []),
    ]),
    ...listed({ part: "work", phase: "forward" }, [...again, ["h", [T, D], type], ["act", [T, F], type]]),
    ...listed({ part: "work", phase: "head" }, [
      ["logits", [N, V], "f32"],
      ["dlogits", [N, V], type],
      ["chunk, dchunk, dh", [N, D], "f32", 3],
      ["h", [N, D], type],
    ]),
    ...listed({ part: "work", phase: "feed-forward backward" }, [
      ...again,
      lowRank,
      // act comes over dact, dgate and dup over gate and up; dh and dmid lie where these were.
      ["dact", [T, F], type],
      ["h of both norms, dy", [T, D], type, 3],
      ...(lora.use_dora ? [["z", [T, Math.max(F, D)], "f32", 2] as Row] : []),
    ]),
    ...listed({ part: "work", phase: "attention backward" }, [
      ...again,
      lowRank,
      ["dattention, dq", [T, Q], type, 3],
      ["dk, dv", [T, K], type, 3],
      ["delta", [T, heads], "f32"],
      ["h", [T, D], type],
      ["dh", [T, D], "f32"],
      ["dmid", [T, D], "f32"],
      ...(lora.use_dora ? [["z", [T, Math.max(Q, D)], "f32", 2] as Row] : []),
    ]),
    ...listed(
      { part: "work", phase: "row norms" },
      lora.use_dora ? [["W + BA", [Math.min(F * D, run.maxBinding / 4)], "f32"]] : [],
    ),
  ];
}
