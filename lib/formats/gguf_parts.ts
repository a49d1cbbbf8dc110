/**
 * GGUF files cut into parts, as llama.cpp's gguf-split cuts and names them: `name-00001-of-00003.gguf`. The first part
 * holds the model's metadata, every part its own tensors, and three keys say which part of how many it is.
 * Names and keys only; what opens parts is lib/model/gguf_model_parts.ts, what writes them lib/export/gguf.ts.
 */
import type { TypedValue } from "./gguf_values.ts";

/** Path of part `no`, counted from 0, of a model that one file would call `${prefix}.gguf`. */
export function partPath(prefix: string, { no, count }: { no: number; count: number }): string {
  const five = (n: number) => String(n).padStart(5, "0");
  return `${prefix}-${five(no + 1)}-of-${five(count)}.gguf`;
}

/** What a part's path says; null for a path that is not one of a part. */
export function parsePartPath(path: string): { prefix: string; no: number; count: number } | null {
  const match = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/is.exec(path);
  return match && { prefix: match[1], no: Number(match[2]) - 1, count: Number(match[3]) };
}

/** split.no, split.count and split.tensors.count (of all parts), with the types that gguf-split gives them. */
export function partKeys(
  { no, count, tensors }: { no: number; count: number; tensors: number },
): [key: string, value: TypedValue][] {
  return [
    ["split.no", { type: "uint16", value: no }],
    ["split.count", { type: "uint16", value: count }],
    ["split.tensors.count", { type: "int32", value: tensors }],
  ];
}

/** A model cut into more than this cannot be named. */
export const maxParts = 65_535;
