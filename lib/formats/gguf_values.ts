/**
 * The value types of GGUF metadata: one table of ids and sizes, shared by the reader and the writer.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */

export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

/** 64-bit integers are numbers where these are exact, else bigints; arrays of numbers are typed arrays. */
export type GgufValue = number | bigint | boolean | string | string[] | boolean[] | GgufNumbers;

export const valueTypes = {
  uint8: { id: 0, bytes: 1 },
  int8: { id: 1, bytes: 1 },
  uint16: { id: 2, bytes: 2 },
  int16: { id: 3, bytes: 2 },
  uint32: { id: 4, bytes: 4 },
  int32: { id: 5, bytes: 4 },
  float32: { id: 6, bytes: 4 },
  bool: { id: 7, bytes: 1 },
  /** u64 length, then UTF-8 without terminator; `bytes` is the least a value takes. */
  string: { id: 8, bytes: 8 },
  /** u32 element type, u64 count, then the elements. */
  array: { id: 9, bytes: 12 },
  uint64: { id: 10, bytes: 8 },
  int64: { id: 11, bytes: 8 },
  float64: { id: 12, bytes: 8 },
} as const;

export type GgufScalarType = Exclude<keyof typeof valueTypes, "array">;

/** A type as one word, arrays by their elements: "uint32", "string[]". */
export type GgufType = GgufScalarType | `${GgufScalarType}[]`;

/** A value with the type it is, or is to be, stored as. */
export interface TypedValue {
  type: GgufType;
  value: GgufValue;
}

export const typeNameById: readonly (keyof typeof valueTypes)[] = Object.entries(valueTypes)
  .sort(([, a], [, b]) => a.id - b.id)
  .map(([name]) => name as keyof typeof valueTypes);

/** "GGUF" read as a little-endian u32. */
export const ggufMagic = 0x46554747;
/** Of tensor data, when general.alignment is absent. */
export const defaultAlignment = 32;
