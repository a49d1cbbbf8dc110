/**
 * A model with its adapter worked in: W + scale*B*A, one tensor at a time, in f32 memory's convention.
 *
 * The base is what the model file holds at its own precision, not the 4-bit weights of training. Sums run in f64 and are
 * rounded once. With DoRA, W' = m * (W + scale*B*A) / ||W + scale*B*A||, row by row (arXiv 2402.09353, formula 5).
 * Nothing is kept: every call reads and computes its tensor again.
 */
import { UserError } from "../errors.ts";
import { loraScale, type LoraSettings } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import { type ModelTensor, moduleName, parsePeftName } from "../model/names.ts";
import type { ModelSource } from "../model/source.ts";

/** What export needs of a trained adapter; lib/model/load_adapter.ts gives one. */
export interface ExportAdapter {
  readonly settings: Pick<LoraSettings, "r" | "lora_alpha" | "use_rslora">;
  /** By PEFT's saved names: lora_A [r, in], lora_B [out, r], lora_magnitude_vector [out]. */
  readonly parameters: readonly { name: string; shape: readonly number[]; value: Float32Array }[];
}

/** What an adapter does to one projection. */
export interface LowRank {
  /** [r, in] */
  a: Float32Array;
  /** [out, r] */
  b: Float32Array;
  r: number;
  scale: number;
  /** DoRA's m, [out]. */
  magnitude?: Float32Array;
}

export interface MergedModel {
  readonly source: ModelSource;
  readonly config: ModelConfig;
  readonly tensors: ModelTensor[];
  /** A tensor by Hugging Face name, merged where the adapter changes it. */
  float32(name: string): Float32Array;
}

/** The model with the adapter in it, or the model itself for null. UserError when they do not belong together. */
export function mergedModel(source: ModelSource, adapter: ExportAdapter | null): MergedModel {
  const changes = adapter ? lowRanks(source, adapter) : new Map<string, LowRank>();
  return {
    source,
    config: source.config,
    tensors: source.tensors,
    float32(name) {
      const weight = source.float32(name), change = changes.get(name);
      if (change) addLowRank(weight, change);
      return weight;
    },
  };
}

/** The adapter's parts by the name of the weight they change. */
export function lowRanks(source: Pick<ModelSource, "tensors" | "path">, adapter: ExportAdapter): Map<string, LowRank> {
  const tensors = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  const parts = new Map<string, Partial<Record<string, { shape: readonly number[]; value: Float32Array }>>>();
  for (const { name, shape, value } of adapter.parameters) {
    const place = parsePeftName(name);
    const weight = place && `${moduleName(place.layer, place.projection)}.weight`;
    if (!weight || !tensors.has(weight)) {
      throw new UserError(`Adapter tensor "${name}" changes nothing in ${source.path}`, { hint: otherModel });
    }
    const bad = value.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0) {
      throw new UserError(`Adapter tensor "${name}" holds ${value[bad]} at element ${bad} of ${value.length}`, {
        hint: "The training diverged: train again with a lower learning rate.",
      });
    }
    parts.set(weight, { ...parts.get(weight), [place.part]: { shape, value } });
  }
  const found = new Map<string, LowRank>(), scale = loraScale(adapter.settings);
  for (const [weight, { lora_A: a, lora_B: b, lora_magnitude_vector: m }] of parts) {
    if (!a || !b) {
      throw new UserError(`Adapter has ${a ? "no lora_B" : "no lora_A"} for "${weight}"`, {
        hint: "The adapter file is incomplete: copy it again.",
      });
    }
    const [outputs, inputs] = tensors.get(weight)!.shape, r = a.shape[0];
    check(`${weight}: lora_A`, a.shape, [r, inputs]);
    check(`${weight}: lora_B`, b.shape, [outputs, r]);
    if (m) check(`${weight}: lora_magnitude_vector`, m.shape, [outputs]);
    found.set(weight, { a: a.value, b: b.value, r, scale, magnitude: m?.value });
  }
  return found;
}

const otherModel = "The adapter was trained on another model: name its own base model.";

function check(what: string, shape: readonly number[], expected: number[]): void {
  if (shape.join() !== expected.join()) {
    throw new UserError(`${what} has shape [${shape.join(", ")}], the model needs [${expected.join(", ")}]`, {
      hint: otherModel,
    });
  }
}

/** weight [out, in] += scale*B*A in place, then scaled to DoRA's row lengths where there are any. */
export function addLowRank(weight: Float32Array, { a, b, r, scale, magnitude }: LowRank): void {
  const outputs = b.length / r, inputs = a.length / r;
  const row = new Float64Array(inputs);
  for (let o = 0; o < outputs; o++) {
    productRow(row, { a, b, r, o });
    const start = o * inputs;
    if (!magnitude) {
      for (let i = 0; i < inputs; i++) weight[start + i] += scale * row[i];
      continue;
    }
    let squares = 0;
    for (let i = 0; i < inputs; i++) {
      row[i] = weight[start + i] + scale * row[i];
      squares += row[i] * row[i];
    }
    const factor = squares === 0 ? 0 : magnitude[o] / Math.sqrt(squares);
    for (let i = 0; i < inputs; i++) weight[start + i] = factor * row[i];
  }
}

/** row [in] = B[o] * A, four ranks in one pass over the row. */
function productRow(
  row: Float64Array,
  { a, b, r, o }: { a: Float32Array; b: Float32Array; r: number; o: number },
): void {
  const inputs = row.length;
  row.fill(0);
  let k = 0;
  for (; k + 4 <= r; k += 4) {
    const b0 = b[o * r + k], b1 = b[o * r + k + 1], b2 = b[o * r + k + 2], b3 = b[o * r + k + 3];
    const a0 = k * inputs, a1 = a0 + inputs, a2 = a1 + inputs, a3 = a2 + inputs;
    for (let i = 0; i < inputs; i++) row[i] += b0 * a[a0 + i] + b1 * a[a1 + i] + b2 * a[a2 + i] + b3 * a[a3 + i];
  }
  for (; k < r; k++) {
    const factor = b[o * r + k], start = k * inputs;
    for (let i = 0; i < inputs; i++) row[i] += factor * a[start + i];
  }
}
