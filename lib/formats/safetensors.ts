/**
 * Safetensors: an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then the data.
 * Reads lazily, one tensor at a time, and writes lazily, header first. Shards and decoding are not its business.
 * As strict as the reference reader: the data must be covered exactly, without holes, overlaps or duplicate names.
 *
 * Format: https://github.com/huggingface/safetensors#format
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "./byte_source.ts";
import { foreignFile } from "./foreign_file.ts";
import { jsonFault } from "./json_fault.ts";
import {
  elementCount,
  type LazyTensor,
  producedBytes,
  quoted,
  type TensorFile,
  tensorFile,
  type TensorInfo,
} from "./tensor_file.ts";

export type { LazyTensor, TensorFile, TensorInfo } from "./tensor_file.ts";

/** Bytes per element by dtype name. */
export const safetensorsTypes: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
  C64: 8,
};

/** The reference reader's limit on the header. */
const maxHeader = 100_000_000;
/** More than any model uses. */
const maxDimensions = 8;
const again = "The file is cut short or damaged: fetch or copy it again.";

/** Reads the header; `bytes(name)` then reads tensors. UserError for every malformed file, with the byte offset. */
export function openSafetensors(source: ByteSource): TensorFile & { metadata: Record<string, string> } {
  const { header, dataStart } = readHeader(source);
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") metadata = checkMetadata(entry, source);
    else tensors.set(name, checkEntry(entry, { name, source, dataStart }));
  }
  checkCoverage(source, { tensors, dataStart });
  return { ...tensorFile(source, tensors), metadata };
}

function readHeader(source: ByteSource): { header: Record<string, unknown>; dataStart: number } {
  const { name, size } = source;
  if (size < 8) {
    throw new UserError(`Cannot read ${name}: ${size} bytes are too few for a safetensors file`, { hint: again });
  }
  const prefix = source.read(0, 8);
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(Math.min(maxHeader, size - 8))) {
    const foreign = foreignFile(source);
    if (foreign) {
      throw new UserError(`Cannot read ${name}: it is ${foreign.what}`, { hint: foreign.hint });
    }
    throw new UserError(
      `Cannot read ${name}: header of ${length} bytes announced at offset 0, file has ${
        size - 8
      } after it (limit ${maxHeader})`,
      { hint: "The file is not safetensors, or cut short: fetch or copy it again." },
    );
  }
  const dataStart = 8 + Number(length);
  const bytes = source.read(8, Number(length));
  if (bytes[0] !== 0x7b) {
    throw new UserError(`Cannot read ${name}: the header must start with "{" at offset 8`, {
      hint: "The file is not safetensors.",
    });
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new UserError(`Cannot read ${name}: its header (offsets 8 to ${dataStart}) is not UTF-8`, { hint: again });
  }
  const fault = jsonFault(text);
  if (fault) {
    const what = fault.duplicateKey === undefined ? "is not JSON" : `has ${quoted(fault.duplicateKey)} twice, again`;
    throw new UserError(`Cannot read ${name}: its header ${what} at byte offset ${8 + fault.offset}`, { hint: again });
  }
  return { header: JSON.parse(text) as Record<string, unknown>, dataStart };
}

function checkMetadata(entry: unknown, source: ByteSource): Record<string, string> {
  const valid = typeof entry === "object" && entry !== null && !Array.isArray(entry) &&
    Object.values(entry).every((value) => typeof value === "string");
  if (!valid) {
    throw new UserError(`Cannot read ${source.name}: __metadata__ must map strings to strings`, { hint: again });
  }
  return entry as Record<string, string>;
}

function checkEntry(entry: unknown, context: { name: string; source: ByteSource; dataStart: number }): TensorInfo {
  const { name, source, dataStart } = context;
  const refuse = (why: string, hint = again) =>
    new UserError(`Cannot read tensor ${quoted(name)} in ${source.name}: ${why}`, { hint });
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  if (typeof dtype !== "string") throw refuse("it has no dtype");
  if (!isSizes(shape)) throw refuse("its shape is not a list of whole numbers");
  if (shape.length > maxDimensions) throw refuse(`${shape.length} dimensions, at most ${maxDimensions} are read`);
  if (!isSizes(offsets) || offsets.length !== 2) throw refuse("its data_offsets are not two whole numbers");
  if (!Object.hasOwn(safetensorsTypes, dtype)) {
    throw refuse(`unknown dtype ${quoted(dtype)}`, `Known are ${Object.keys(safetensorsTypes).join(", ")}.`);
  }
  const [begin, end] = offsets;
  const dataSize = source.size - dataStart;
  if (begin > end || end > dataSize) {
    throw refuse(`data_offsets [${begin}, ${end}] lie outside the ${dataSize} bytes of data`);
  }
  const needed = elementCount(shape) * safetensorsTypes[dtype];
  if (needed !== end - begin) {
    throw refuse(`shape [${shape.join(", ")}] of ${dtype} takes ${needed} bytes, data_offsets give ${end - begin}`);
  }
  return { name, dtype, shape, offset: dataStart + begin, byteLength: end - begin };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** The data must be covered from its first byte to its last: nothing twice, nothing hidden between tensors. */
function checkCoverage(source: ByteSource, layout: { tensors: Map<string, TensorInfo>; dataStart: number }): void {
  let end = layout.dataStart, last = "the header";
  const inOrder = [...layout.tensors.values()].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const info of inOrder) {
    if (info.offset !== end) {
      const what = info.offset < end
        ? `overlaps ${last} by ${end - info.offset} bytes`
        : `leaves ${info.offset - end} bytes unused after ${last}`;
      throw new UserError(
        `Cannot read tensor ${quoted(info.name)} in ${source.name}: at offset ${info.offset} it ${what}`,
        {
          hint: again,
        },
      );
    }
    end += info.byteLength;
    last = `tensor ${quoted(info.name)}`;
  }
  if (end !== source.size) {
    throw new UserError(`Cannot read ${source.name}: its tensors end at offset ${end}, the file at ${source.size}`, {
      hint: again,
    });
  }
}

/**
 * The file as chunks: the header, then each tensor, whose `data` is called only when its turn comes. The order of the
 * data is the order given. `metadata` goes to __metadata__; the header is padded with spaces so that data starts at a
 * multiple of 8.
 */
export function* writeSafetensors(
  tensors: Iterable<LazyTensor>,
  metadata: Record<string, string> = {},
): Iterable<Uint8Array> {
  const list = [...tensors];
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let offset = 0;
  for (const { name, dtype, shape, byteLength } of list) {
    const needed = elementCount(shape) * safetensorsTypes[dtype];
    if (needed !== byteLength) throw new Error(`tensor "${name}": [${shape}] of ${dtype} is not ${byteLength} bytes`);
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + byteLength] }]);
    offset += byteLength;
  }
  if (new Set(entries.map(([name]) => name)).size !== entries.length) throw new Error("duplicate tensor name");
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  yield header;
  for (const tensor of list) yield producedBytes(tensor);
}
