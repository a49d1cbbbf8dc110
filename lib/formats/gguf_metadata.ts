/**
 * Reads the metadata of a GGUF file: typed keys and values in the file's order. What a key means is not known here,
 * but for general.alignment, whose type the format itself fixes.
 */
import type { Cursor } from "./gguf_cursor.ts";
import {
  type GgufNumbers,
  type GgufScalarType,
  type GgufType,
  type GgufValue,
  type TypedValue,
  typeNameById,
  valueTypes,
} from "./gguf_values.ts";
import { quoted } from "./tensor_file.ts";

export interface GgufMetadata {
  values: Map<string, GgufValue>;
  /** How each value is stored. */
  types: Map<string, GgufType>;
}

/** Bytes of a key, by the format. */
const maxKey = 65535;
/** Bytes of an array: ten times the largest vocabulary there is. */
const maxArray = 1 << 28;

/** The next `count` keys with their values. UserError for repeated keys, unknown types and lengths past the file. */
export function readMetadata(cursor: Cursor, count: number): GgufMetadata {
  const values = new Map<string, GgufValue>(), types = new Map<string, GgufType>();
  for (let i = 0; i < count; i++) {
    const at = cursor.position(), key = cursor.string(`metadata key ${i}`, maxKey);
    if (key.length === 0) throw cursor.refuse(`metadata key ${i} at offset ${at} is empty`);
    if (values.has(key)) throw cursor.refuse(`metadata key ${quoted(key)} occurs twice, again at offset ${at}`);
    const { type, value } = readValue(cursor, key);
    if (key === "general.alignment" && type !== "uint32") {
      throw cursor.refuse(`general.alignment at offset ${at} must have type uint32, it has ${type}`);
    }
    values.set(key, value);
    types.set(key, type);
  }
  return { values, types };
}

function readValue(cursor: Cursor, key: string): TypedValue {
  const type = readType(cursor, key);
  if (type !== "array") return { type, value: scalars[type](cursor, `value of ${quoted(key)}`) };
  const element = readType(cursor, key);
  if (element === "array") {
    throw cursor.refuse(
      `${quoted(key)} at offset ${cursor.position() - 4} is an array of arrays, which no model needs`,
    );
  }
  const what = `elements of ${quoted(key)}`, at = cursor.position();
  const count = cursor.count(what, valueTypes[element].bytes), bytes = count * valueTypes[element].bytes;
  if (bytes > maxArray) {
    throw cursor.refuse(`${quoted(key)} at offset ${at} has ${bytes} bytes, at most ${maxArray} are read`);
  }
  if (element === "string") {
    const strings: string[] = [];
    for (let i = 0; i < count; i++) strings.push(cursor.string(what));
    return { type: "string[]", value: strings };
  }
  const buffer = cursor.bytes(bytes).slice().buffer;
  const value = element === "bool"
    ? Array.from(new Uint8Array(buffer), (byte) => byte !== 0)
    : numberArrays[element](buffer);
  return { type: `${element}[]`, value };
}

function readType(cursor: Cursor, key: string): keyof typeof valueTypes {
  const id = cursor.u32(), name = typeNameById[id];
  if (name === undefined) {
    throw cursor.refuse(`${quoted(key)} has unknown value type ${id} at offset ${cursor.position() - 4}`);
  }
  return name;
}

const scalars: Record<GgufScalarType, (cursor: Cursor, what: string) => GgufValue> = {
  uint8: (cursor) => cursor.u8(),
  int8: (cursor) => cursor.u8() << 24 >> 24,
  uint16: (cursor) => cursor.u16(),
  int16: (cursor) => cursor.u16() << 16 >> 16,
  uint32: (cursor) => cursor.u32(),
  int32: (cursor) => cursor.u32() | 0,
  float32: (cursor) => cursor.f32(),
  bool: (cursor) => cursor.u8() !== 0,
  string: (cursor, what) => cursor.string(what),
  uint64: (cursor) => exact(cursor.u64()),
  int64: (cursor) => exact(BigInt.asIntN(64, cursor.u64())),
  float64: (cursor) => cursor.f64(),
};

const numberArrays: Record<Exclude<GgufScalarType, "string" | "bool">, (buffer: ArrayBuffer) => GgufNumbers> = {
  uint8: (buffer) => new Uint8Array(buffer),
  int8: (buffer) => new Int8Array(buffer),
  uint16: (buffer) => new Uint16Array(buffer),
  int16: (buffer) => new Int16Array(buffer),
  uint32: (buffer) => new Uint32Array(buffer),
  int32: (buffer) => new Int32Array(buffer),
  float32: (buffer) => new Float32Array(buffer),
  uint64: (buffer) => new BigUint64Array(buffer),
  int64: (buffer) => new BigInt64Array(buffer),
  float64: (buffer) => new Float64Array(buffer),
};

/** A number where it holds the integer exactly. */
function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
