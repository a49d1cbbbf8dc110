/**
 * The 4-bit weights of a bitsandbytes checkpoint as its safetensors hold them: NF4 and FP4 in blocks of any length, the
 * block maxima plain or double-quantised. Which weights there are and whether their parts fit is read from the header
 * and one small JSON text a weight; codes and maxima are read when they are asked for.
 *
 * A weight P is P (codes, two to a byte, even index in the high nibble; of any dtype, only its bytes count), P.absmax,
 * P.quant_map, P.quant_state.bitsandbytes__nf4 or __fp4 (UTF-8 JSON) and, double-quantised, P.nested_absmax and
 * P.nested_quant_map. Source: bitsandbytes functional.py QuantState.as_dict, utils.py pack_dict_to_tensor.
 */
import { UserError } from "../errors.ts";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "../formats/float16.ts";
import { elementCount, quoted, type TensorFile } from "../formats/tensor_file.ts";
import { toFloat32 } from "./decode.ts";
import { nestedBlock, type QuantizedWeight, recoverAbsmax, signedMap } from "./double_quant.ts";
import { dequantize4Bit, nf4Block, nf4Codebook } from "./nf4.ts";

export interface Bnb4Weight {
  /** Name of the weight and of its codes. */
  name: string;
  /** "NF4" or "FP4". */
  type: string;
  /** Of the weight itself, row-major. */
  shape: number[];
  /** Elements that share a maximum. */
  block: number;
  /** What bitsandbytes dequantises to. */
  dtype: "float32" | "float16" | "bfloat16";
  /** Set where the maxima are double-quantised. */
  nested?: { block: number; offset: number };
}

const statePattern = /^(.+)\.quant_state\.bitsandbytes__(nf4|fp4)$/;
const parts = /\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__\w+)$/;
/** More than any state's text. */
const maxStateBytes = 4096;
const again = "The checkpoint is damaged: fetch or copy it again.";

/** Whether a tensor only belongs to a 4-bit weight. */
export function isBnb4Part(name: string): boolean {
  return parts.test(name);
}

/** The file's 4-bit weights by name. UserError where a part is missing or does not fit the others. */
export function bnb4Weights(file: TensorFile): Map<string, Bnb4Weight> {
  const weights = new Map<string, Bnb4Weight>();
  for (const state of file.tensors.keys()) {
    const match = statePattern.exec(state);
    if (match) weights.set(match[1], readState(file, { name: match[1], type: match[2].toUpperCase(), state }));
  }
  for (const name of file.tensors.keys()) {
    const of = name.replace(parts, "");
    if (of !== name && !weights.has(of)) {
      throw new UserError(`Tensor ${quoted(name)} in ${file.source} is of a 4-bit weight without a quant_state`, {
        hint:
          "Only bitsandbytes' own 4-bit checkpoints with NF4 or FP4 are read: save the model again, or take another.",
      });
    }
  }
  return weights;
}

function readState(
  file: TensorFile,
  { name, type, state }: { name: string; type: string; state: string },
): Bnb4Weight {
  const refuse = (why: string) => {
    return new UserError(`Cannot read the 4-bit weight ${quoted(name)} in ${file.source}: ${why}`, { hint: again });
  };
  const bytesOf = (part: string): number => {
    const info = file.tensors.get(part);
    if (!info) throw refuse(`tensor ${quoted(part)} is missing`);
    return info.byteLength;
  };
  if (bytesOf(state) > maxStateBytes) throw refuse(`its quant_state has ${bytesOf(state)} bytes`);
  const json = parseState(file.bytes(state));
  if (!json) throw refuse("its quant_state is not a JSON object");

  const { shape, dtype, blocksize, quant_type } = json;
  if (quant_type !== type.toLowerCase()) throw refuse(`its quant_type is ${shown(quant_type)}, expected ${type}`);
  if (!isShape(shape)) throw refuse(`its shape is ${shown(shape)}`);
  if (dtype !== "float32" && dtype !== "float16" && dtype !== "bfloat16") {
    throw refuse(`its dtype is ${shown(dtype)}, expected float32, float16 or bfloat16`);
  }
  if (!isBlock(blocksize)) throw refuse(`its blocksize is ${shown(blocksize)}, expected a power of 2 from 16 to 8192`);
  const count = elementCount(shape), blocks = Math.ceil(count / blocksize);
  const expect = (part: string, { bytes, what }: { bytes: number; what: string }) => {
    if (bytesOf(part) !== bytes) throw refuse(`${quoted(part)} has ${bytesOf(part)} bytes, ${what} take ${bytes}`);
  };
  const expectFloats = (part: string, numbers: number) => {
    const bytes = bytesOf(part), { dtype } = file.tensors.get(part)!;
    const size = { F32: 4, F16: 2, BF16: 2 }[dtype];
    if (!size || bytes !== numbers * size) {
      throw refuse(`${quoted(part)} has ${bytes} bytes of ${dtype}, expected ${numbers} floats`);
    }
  };
  expect(name, { bytes: Math.ceil(count / 2), what: `${count} elements` });
  expectFloats(`${name}.quant_map`, 16);
  if (json.nested_offset === undefined && json.nested_blocksize === undefined) {
    expectFloats(`${name}.absmax`, blocks);
    return { name, type, shape, block: blocksize, dtype };
  }
  const { nested_offset: offset, nested_blocksize: nested } = json;
  if (typeof offset !== "number" || !Number.isFinite(offset)) throw refuse(`its nested_offset is ${shown(offset)}`);
  if (!isBlock(nested)) throw refuse(`its nested_blocksize is ${shown(nested)}, expected a power of 2 from 16 to 8192`);
  expect(`${name}.absmax`, { bytes: blocks, what: `${blocks} maxima of 8 bits` });
  expectFloats(`${name}.nested_absmax`, Math.ceil(blocks / nested));
  expectFloats(`${name}.nested_quant_map`, 256);
  return { name, type, shape, block: blocksize, dtype, nested: { block: nested, offset: Math.fround(offset) } };
}

function parseState(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof json === "object" && json !== null ? json : undefined;
  } catch {
    return undefined;
  }
}

const shown = (value: unknown) => (JSON.stringify(value) ?? "missing").slice(0, 60);

function isShape(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 8 && value.every((size) => Number.isSafeInteger(size) && size >= 0) &&
    Number.isSafeInteger(elementCount(value));
}

function isBlock(value: unknown): value is number {
  return typeof value === "number" && value >= 16 && value <= 8192 && Number.isInteger(Math.log2(value));
}

/** A weight's numbers, bit for bit as bitsandbytes dequantises them: value * maximum in f32, rounded to its dtype. */
export function dequantizeBnb4(file: TensorFile, weight: Bnb4Weight): Float32Array<ArrayBuffer> {
  const { name, shape, block, dtype } = weight, absmax = readAbsmax(file, weight);
  const codebook = floats(file, `${name}.quant_map`);
  // FP4's fourth bit is a sign, which bitsandbytes' kernels keep of a zero too; its map says 0.
  if (weight.type === "FP4" && codebook[8] === 0) codebook[8] = -0;
  return dequantize4Bit(file.bytes(name), absmax instanceof Float32Array ? absmax : recoverAbsmax(absmax, absmax), {
    ...{ count: elementCount(shape), codebook, block },
    round: dtype === "float32" ? undefined : rounding(dtype),
  });
}

function rounding(dtype: "float16" | "bfloat16"): (values: Float32Array) => void {
  const half = new Uint16Array(16);
  if (dtype === "float16") return (values) => void f16ToF32(f32ToF16(values, half), values);
  return (values) => void bf16ToF32(f32ToBf16(values, half), values);
}

/** Whether a weight is stored as this program keeps one itself: NF4 in blocks of 64. */
export function isOwnNf4(file: TensorFile, { name, type, block }: Bnb4Weight): boolean {
  return type === "NF4" && block === nf4Block && same(floats(file, `${name}.quant_map`), nf4Codebook);
}

/**
 * Codes and maxima of a weight that isOwnNf4, as they are. Maxima that are double-quantised in another way come as f32.
 * UserError where a maximum is not finite.
 */
export function ownNf4(file: TensorFile, weight: Bnb4Weight): QuantizedWeight {
  const { name } = weight;
  const absmax = readAbsmax(file, weight), bytes = file.bytes(name);
  const packed = bytes.byteLength === bytes.buffer.byteLength ? bytes as Uint8Array<ArrayBuffer> : bytes.slice();
  const values = absmax instanceof Float32Array ? absmax : absmax.nestedAbsmax;
  const bad = values.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) {
    throw new UserError(`The 4-bit weight ${quoted(name)} in ${file.source} has a maximum of ${values[bad]}`, {
      hint: again,
    });
  }
  if (absmax instanceof Float32Array) return { packed, absmax };
  const { map, block: nested, ...double } = absmax;
  return { packed, absmax: nested === nestedBlock && same(map, signedMap) ? double : recoverAbsmax(double, absmax) };
}

/** The block maxima as they are stored. */
function readAbsmax(file: TensorFile, { name, shape, block, nested }: Bnb4Weight) {
  if (!nested) return floats(file, `${name}.absmax`);
  const codes = file.bytes(`${name}.absmax`).slice(0, Math.ceil(elementCount(shape) / block));
  const nestedAbsmax = floats(file, `${name}.nested_absmax`);
  return { codes, nestedAbsmax, map: floats(file, `${name}.nested_quant_map`), ...nested };
}

function floats(file: TensorFile, name: string): Float32Array<ArrayBuffer> {
  const { dtype, shape } = file.tensors.get(name)!;
  return toFloat32(file.bytes(name), { dtype, count: elementCount(shape), name });
}

function same(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((x, i) => x === b[i]);
}
