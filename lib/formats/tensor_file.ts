/**
 * What the readers of tensor files have in common: named tensors at byte ranges of a source, read one at a time.
 * Nothing here knows a format or decodes numbers (lib/quant/decode.ts does).
 */
import { nearest, UserError } from "../errors.ts";
import type { ByteSource } from "./byte_source.ts";

export interface TensorInfo {
  name: string;
  /** As the file's format spells it: "F32", "BF16", "U8", or GGUF's "Q4_1", "F16". */
  dtype: string;
  /** Row-major, outermost first. */
  shape: number[];
  /** Bytes from the start of the source. */
  offset: number;
  byteLength: number;
}

export interface TensorFile {
  /** Name of the source, for messages. */
  readonly source: string;
  /** In the order of the file's header. */
  readonly tensors: Map<string, TensorInfo>;
  /** The tensor's stored bytes, a fresh copy or a view. UserError when there is no such tensor. */
  bytes(name: string): Uint8Array;
}

/** Wraps checked tensor descriptions of `source` as a TensorFile. */
export function tensorFile(source: ByteSource, tensors: Map<string, TensorInfo>): TensorFile {
  return {
    source: source.name,
    tensors,
    bytes(name) {
      const info = tensors.get(name);
      if (!info) {
        const near = nearest(name, tensors.keys());
        throw new UserError(
          `Cannot find tensor ${quoted(name)} in ${source.name}: it has ${tensors.size} others`,
          { hint: near ? `The nearest name is ${quoted(near)}.` : "Check that the file belongs to this model." },
        );
      }
      return source.read(info.offset, info.byteLength);
    },
  };
}

/** Tensors by where their data lies, so that a whole file streams from front to back. */
export function inFileOrder(file: TensorFile): TensorInfo[] {
  return [...file.tensors.values()].sort((a, b) => a.offset - b.offset);
}

/** A name out of a file, quoted for a message: one line whatever is in it, and cut when long. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name);
}

/** Elements of a shape; 1 for a scalar. Exact only up to 2^53: the readers refuse more. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A tensor to write: `data` is called once, when its turn comes, and must give `byteLength` bytes. */
export interface LazyTensor {
  name: string;
  dtype: string;
  /** Row-major, outermost first. */
  shape: readonly number[];
  byteLength: number;
  data: () => Uint8Array;
}

/** The tensor's bytes; an Error when their number is not what the header already promised. */
export function producedBytes(tensor: LazyTensor): Uint8Array {
  const bytes = tensor.data();
  if (bytes.length !== tensor.byteLength) {
    throw new Error(`tensor "${tensor.name}" gave ${bytes.length} bytes, announced ${tensor.byteLength}`);
  }
  return bytes;
}
