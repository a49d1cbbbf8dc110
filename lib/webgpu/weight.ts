/**
 * Frozen weights into GPU memory: dense ones in the type that products read, NF4 ones as codes with 8-bit block maxima
 * in one buffer. * A weight larger than one binding may be is split into parts of whole rows.
 */
import type { WeightData } from "../ops.ts";
import { nestedBlock } from "../quant/double_quant.ts";
import { dynamicMap } from "../quant/dynamic_map.ts";
import { halfToF32 } from "../quant/half.ts";
import { nf4Block } from "../quant/nf4.ts";
import { type Commands, type GpuTensor, tensorBytes } from "./commands.ts";
import { bytesOf, type Dtype, type KernelTarget } from "./dispatch.ts";
import { nf4Layout } from "./nf4_kernels.ts";
import type { Weight } from "./products.ts";

export interface PlacedWeight {
  weight: Weight;
  /** By "field.part": dense; or whole, and in it packed with absmax, or with codes and nested. */
  parts: Map<string, GpuTensor>;
  /** Element type of dense parts; of NF4 what they are written out in. */
  dtype: Dtype;
  first: GpuTensor;
}

export function placeWeight(data: WeightData, { target, allocate, commands }: {
  target: KernelTarget;
  allocate: (shape: readonly number[], dtype: Dtype) => GpuTensor;
  commands: Commands;
}): PlacedWeight {
  const [O, I] = data.shape, dtype: Dtype = target.f16 ? "f16" : "f32";
  const parts = new Map<string, GpuTensor>();
  const put = (name: string, bytes: ArrayBufferView, type: Dtype) => {
    const tensor = allocate([Math.ceil(bytes.byteLength / bytesOf[type])], type);
    commands.write(tensor, bytes);
    parts.set(name, tensor);
  };
  if (data.kind !== "nf4") {
    const rows = rowsOfParts(O, { rowBytes: I * bytesOf[dtype], most: target.maxBinding, step: fewestRows });
    let start = 0;
    for (const [part, count] of rows.entries()) {
      const place = { start: start * I, end: (start + count) * I };
      const values = data.kind === "half" ? halfToF32(data, place) : data.data.subarray(place.start, place.end);
      put(`dense.${part}`, dtype === "f16" ? new Float16Array(values) : values, dtype);
      start += count;
    }
    return { weight: { kind: "dense", rows }, parts, dtype, first: parts.get("dense.0")! };
  }
  const { packed, absmax } = data, double = !(absmax instanceof Float32Array);
  // Written out, a part must be one binding too, and it must hold whole blocks, of maxima too where they are codes.
  const whole = double ? nestedBlock * nf4Block : nf4Block, step = Math.max(fewestRows, whole / gcd(I, whole));
  const rows = rowsOfParts(O, { rowBytes: I * bytesOf[dtype], most: target.maxBinding, step });
  let start = 0;
  for (const [part, count] of rows.entries()) {
    const from = start * I, to = (start + count) * I;
    const blocks = [from / nf4Block, Math.ceil(to / nf4Block)];
    const { parts: places, bytes } = nf4Layout(to - from, double), whole = allocate([bytes / 4], "u32");
    parts.set(`whole.${part}`, whole);
    const place = (name: string, data: ArrayBufferView, dtype: Dtype) => {
      const { offset, bytes } = places[name], shape = [Math.ceil(bytes / bytesOf[dtype])];
      const tensor = { ...whole, shape, dtype, offset, bytes: tensorBytes(shape, dtype) };
      commands.write(tensor, data);
      parts.set(`${name}.${part}`, tensor);
    };
    place("packed", packed.subarray(from / 2, Math.ceil(to / 2)), "u32");
    if (double) {
      place("codes", absmax.codes.subarray(...blocks), "u32");
      const nested = absmax.nestedAbsmax.subarray(blocks[0] / nestedBlock, Math.ceil(blocks[1] / nestedBlock));
      // The map of the codes stands in front: kernels have few bindings.
      place("nested", Float32Array.of(...dynamicMap(true), ...nested), "f32");
    } else place("absmax", absmax.subarray(...blocks), "f32");
    start += count;
  }
  const weight: Weight = { kind: "nf4", rows, double, offset: double ? absmax.offset : 0 };
  return { weight, parts, dtype, first: parts.get("packed.0")! };
}

/** Parts are whole multiples of so many rows, so that products' kernels find whole vectors of 8 in every part. */
const fewestRows = 8;

/** Rows of each part: all, or as many whole steps as fit a binding. */
function rowsOfParts(count: number, { rowBytes, most, step }: { rowBytes: number; most: number; step: number }) {
  if (count * rowBytes <= most) return [count];
  const each = Math.floor(most / rowBytes / step) * step;
  if (each < 1) throw new Error(`${step} rows of ${rowBytes} bytes do not fit a binding of ${most}`);
  return Array.from({ length: Math.ceil(count / each) }, (_, i) => Math.min(each, count - i * each));
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
