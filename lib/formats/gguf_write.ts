/**
 * Writes GGUF version 3, little-endian: metadata, tensor descriptions, then the data, produced one tensor at a time.
 * The mirror of gguf.ts; what keys a model needs is known to lib/export alone.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { ggmlTypes } from "./ggml_types.ts";
import {
  defaultAlignment,
  ggufMagic,
  type GgufScalarType,
  type GgufType,
  type TypedValue,
  valueTypes,
} from "./gguf_values.ts";
import { elementCount, type LazyTensor, producedBytes } from "./tensor_file.ts";

export type { GgufType, TypedValue } from "./gguf_values.ts";

/**
 * The file as chunks: the header, then each tensor (with its padding), whose `data` is called only when its turn comes.
 * Shapes are row-major (written reversed, as ne). `general.alignment` in the metadata is obeyed. Errors are programming
 * errors: repeated names, sizes that contradict the shape, values outside their type.
 */
export function* writeGguf(
  metadata: Iterable<[key: string, value: TypedValue]>,
  tensors: Iterable<LazyTensor>,
): Iterable<Uint8Array> {
  const keys = [...metadata], list = [...tensors];
  const alignment = keys.find(([key]) => key === "general.alignment")?.[1].value as number | undefined ??
    defaultAlignment;
  requireDistinct(keys.map(([key]) => key));
  requireDistinct(list.map(({ name }) => name));

  const header = byteBuilder();
  header.u32(ggufMagic);
  header.u32(3);
  header.u64(BigInt(list.length));
  header.u64(BigInt(keys.length));
  for (const [key, value] of keys) {
    header.string(key);
    writeValue(header, { key, ...value });
  }
  let offset = 0;
  for (const tensor of list) {
    writeDescription(header, tensor, offset);
    offset += roundUp(tensor.byteLength, alignment);
  }
  header.pad(alignment);
  yield header.bytes();
  for (const tensor of list) {
    yield producedBytes(tensor);
    const padding = roundUp(tensor.byteLength, alignment) - tensor.byteLength;
    if (padding > 0) yield new Uint8Array(padding);
  }
}

function writeDescription(header: ByteBuilder, tensor: LazyTensor, offset: number): void {
  const { name, dtype, shape, byteLength } = tensor;
  const type = ggmlTypes[dtype];
  if (!type) throw new Error(`tensor "${name}": ggml has no type ${dtype}`);
  if (new TextEncoder().encode(name).length > 63) throw new Error(`tensor "${name}": its name is longer than 63 bytes`);
  const needed = elementCount(shape) / type.block * type.bytes;
  if (needed !== byteLength || (shape.at(-1) ?? 1) % type.block !== 0) {
    throw new Error(`tensor "${name}": [${shape}] of ${dtype} is not ${byteLength} bytes of whole blocks`);
  }
  header.string(name);
  header.u32(shape.length);
  for (const size of [...shape].reverse()) header.u64(BigInt(size));
  header.u32(type.id);
  header.u64(BigInt(offset));
}

function writeValue(header: ByteBuilder, field: TypedValue & { key: string }): void {
  const { key, type, value } = field;
  if (!type.endsWith("[]")) {
    header.u32(valueTypes[type as GgufScalarType].id);
    writeScalar(header, { key, type: type as GgufScalarType, value });
    return;
  }
  const element = type.slice(0, -2) as GgufScalarType;
  const values = value as ArrayLike<unknown>;
  header.u32(valueTypes.array.id);
  header.u32(valueTypes[element].id);
  header.u64(BigInt(values.length));
  for (let i = 0; i < values.length; i++) writeScalar(header, { key, type: element, value: values[i] });
}

/** Lowest and highest value of the integer types. */
const ranges: Partial<Record<GgufType, [bigint, bigint]>> = {
  uint8: [0n, 255n],
  int8: [-128n, 127n],
  uint16: [0n, 65535n],
  int16: [-32768n, 32767n],
  uint32: [0n, 2n ** 32n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
};

function writeScalar(header: ByteBuilder, field: { key: string; type: GgufScalarType; value: unknown }): void {
  const { key, type, value } = field;
  const wrong = () => new Error(`metadata "${key}": ${String(value)} is no ${type}`);
  if (type === "string") {
    if (typeof value !== "string") throw wrong();
    return header.string(value);
  }
  if (type === "bool") {
    if (typeof value !== "boolean") throw wrong();
    return header.u8(value ? 1 : 0);
  }
  if (type === "float32" || type === "float64") {
    if (typeof value !== "number") throw wrong();
    return type === "float32" ? header.f32(value) : header.f64(value);
  }
  const isInteger = typeof value === "bigint" || Number.isSafeInteger(value);
  const [low, high] = ranges[type]!;
  if (!isInteger) throw wrong();
  const integer = BigInt(value as number | bigint);
  if (integer < low || integer > high) throw wrong();
  if (valueTypes[type].bytes === 8) header.u64(integer);
  else if (valueTypes[type].bytes === 4) header.u32(Number(integer));
  else if (valueTypes[type].bytes === 2) header.u16(Number(integer));
  else header.u8(Number(integer));
}

function requireDistinct(names: string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (name === "" || seen.has(name)) throw new Error(`name "${name}" is empty or occurs twice`);
    seen.add(name);
  }
}

function roundUp(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

type ByteBuilder = ReturnType<typeof byteBuilder>;

/** Appends little-endian numbers to a buffer that doubles. Negative integers are written as two's complement. */
function byteBuilder() {
  let buffer = new Uint8Array(1 << 16), view = new DataView(buffer.buffer), length = 0;
  const encoder = new TextEncoder();
  /** Makes room for `size` bytes and steps over them; their offset. */
  const grow = (size: number) => {
    const start = length;
    length += size;
    if (length > buffer.length) {
      const larger = new Uint8Array(Math.max(2 * buffer.length, length));
      larger.set(buffer.subarray(0, start));
      [buffer, view] = [larger, new DataView(larger.buffer)];
    }
    return start;
  };
  /** `put` at the next `size` bytes. The view is looked up after growing, which may have replaced it. */
  const append = (size: number, put: (at: number) => void) => put(grow(size));
  const u64 = (value: bigint) => append(8, (at) => view.setBigUint64(at, BigInt.asUintN(64, value), true));
  return {
    u8: (value: number) => append(1, (at) => view.setUint8(at, value)),
    u16: (value: number) => append(2, (at) => view.setUint16(at, value, true)),
    u32: (value: number) => append(4, (at) => view.setUint32(at, value, true)),
    u64,
    f32: (value: number) => append(4, (at) => view.setFloat32(at, value, true)),
    f64: (value: number) => append(8, (at) => view.setFloat64(at, value, true)),
    string(value: string) {
      const bytes = encoder.encode(value);
      u64(BigInt(bytes.length));
      append(bytes.length, (at) => buffer.set(bytes, at));
    },
    pad: (alignment: number) => append(roundUp(length, alignment) - length, () => {}),
    bytes: () => buffer.subarray(0, length),
  };
}
