/**
 * GGUF versions 2 and 3, little-endian: header, metadata, tensor descriptions; tensor data is read one tensor at a time.
 * Not a decoder of blocks (lib/quant/decode.ts) and not an interpreter of the metadata (lib/model, lib/text).
 * Assumes hostile input: every count, length, shape and offset is checked against the file's size before it is used.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { UserError } from "../errors.ts";
import type { ByteSource } from "./byte_source.ts";
import { foreignFile } from "./foreign_file.ts";
import { ggmlTypes } from "./ggml_types.ts";
import { type Cursor, openCursor } from "./gguf_cursor.ts";
import { readMetadata } from "./gguf_metadata.ts";
import { defaultAlignment, ggufMagic, type GgufType, type GgufValue } from "./gguf_values.ts";
import { quoted, type TensorFile, tensorFile, type TensorInfo } from "./tensor_file.ts";

export type { GgufNumbers, GgufType, GgufValue } from "./gguf_values.ts";

export interface GgufFile extends TensorFile {
  /** Keys in the file's order. */
  readonly metadata: Map<string, GgufValue>;
  /** How each value of `metadata` is stored, for writing it again as it was. */
  readonly types: Map<string, GgufType>;
  readonly version: number;
  /** Of tensor data, bytes. */
  readonly alignment: number;
}

const typeNames = new Map(Object.entries(ggmlTypes).map(([name, { id }]) => [id, name]));
const maxDimensions = 4;
/** ggml keeps names in 64 bytes, the last one zero. */
const maxTensorName = 63;
const maxAlignment = 1 << 20;

/** Reads header and descriptions; shapes are row-major (GGUF's ne reversed). UserError for every malformed file. */
export function openGguf(source: ByteSource): GgufFile {
  const cursor = openCursor(source);
  const version = readVersion(cursor, source);
  const tensorCount = cursor.count("tensors", 8 + 1 + 4 + 4 + 8);
  const keyCount = cursor.count("metadata keys", 8 + 1 + 4 + 1);
  const { values: metadata, types } = readMetadata(cursor, keyCount);
  const alignment = metadata.get("general.alignment") as number | undefined ?? defaultAlignment;
  if (alignment < 1 || alignment > maxAlignment || (alignment & (alignment - 1)) !== 0) {
    throw cursor.refuse(`general.alignment is ${alignment}, wanted a power of two up to ${maxAlignment}`);
  }
  const tensors = new Map<string, TensorInfo>();
  for (let i = 0; i < tensorCount; i++) {
    const info = readTensorInfo(cursor, i);
    if (tensors.has(info.name)) throw cursor.refuse(`tensor ${quoted(info.name)} occurs twice`);
    tensors.set(info.name, info);
  }
  placeTensors(cursor, { tensors, alignment, size: source.size });
  return { ...tensorFile(source, tensors), metadata, types, version, alignment };
}

function readVersion(cursor: Cursor, source: ByteSource): number {
  const magic = cursor.u32();
  if (magic !== ggufMagic) {
    const foreign = foreignFile(source);
    if (foreign) {
      throw new UserError(`Cannot read ${source.name}: it is ${foreign.what}`, { hint: foreign.hint });
    }
    throw cursor.refuse(
      `it starts with 0x${magic.toString(16).padStart(8, "0")}, a GGUF file with 0x${ggufMagic.toString(16)} ("GGUF")`,
    );
  }
  const version = cursor.u32();
  if (version === 2 || version === 3) return version;
  const swapped = ((version & 0xff) << 24 | (version & 0xff00) << 8 | (version >>> 8) & 0xff00 | version >>> 24) >>> 0;
  if (swapped === 2 || swapped === 3) {
    throw cursor.refuse(`it is a big-endian GGUF file (version ${swapped}); only little-endian is read`);
  }
  throw cursor.refuse(`GGUF version ${version} at offset 4; versions 2 and 3 are read`);
}

/** One description, its offset still relative to the start of the data. */
function readTensorInfo(cursor: Cursor, index: number): TensorInfo {
  const at = cursor.position(), name = cursor.string(`name of tensor ${index}`, maxTensorName);
  const refuse = (why: string) => cursor.refuse(`tensor ${quoted(name)} described at offset ${at}: ${why}`);
  if (name.length === 0) throw refuse("its name is empty");
  const dimensions = cursor.u32();
  if (dimensions > maxDimensions) throw refuse(`${dimensions} dimensions, at most ${maxDimensions} are possible`);
  const ne: bigint[] = [];
  for (let i = 0; i < dimensions; i++) ne.push(cursor.u64());
  const typeId = cursor.u32(), dtype = typeNames.get(typeId);
  if (dtype === undefined) throw refuse(`unknown type ${typeId}`);
  const { block, bytes } = ggmlTypes[dtype];
  const count = ne.reduce((product, size) => product * size, 1n);
  const shape = `[${[...ne].reverse().join(", ")}]`;
  if (ne.some((size) => size > BigInt(Number.MAX_SAFE_INTEGER)) || count > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw refuse(`shape ${shape} is impossibly large`);
  }
  if (block > 1 && (ne[0] ?? 1n) % BigInt(block) !== 0n) {
    throw refuse(`rows of ${ne[0] ?? 1} elements are not whole ${dtype} blocks of ${block}`);
  }
  const offset = cursor.u64(), byteLength = count / BigInt(block) * BigInt(bytes);
  if (offset > BigInt(Number.MAX_SAFE_INTEGER) || byteLength > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw refuse(`${byteLength} bytes at data offset ${offset} lie outside the file`);
  }
  return { name, dtype, shape: ne.map(Number).reverse(), offset: Number(offset), byteLength: Number(byteLength) };
}

/** Makes the offsets absolute and checks that the data lies aligned, inside the file and nowhere twice. */
function placeTensors(
  cursor: Cursor,
  layout: { tensors: Map<string, TensorInfo>; alignment: number; size: number },
): void {
  const { tensors, alignment, size } = layout;
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment;
  for (const info of tensors.values()) {
    if (info.offset % alignment !== 0) {
      throw cursor.refuse(`tensor ${quoted(info.name)} at data offset ${info.offset} is not aligned to ${alignment}`);
    }
    info.offset += dataStart;
    if (info.offset + info.byteLength > size) {
      throw cursor.refuse(
        `tensor ${quoted(info.name)} needs ${info.byteLength} bytes at offset ${info.offset}, file has ${
          Math.max(0, size - info.offset)
        } left of ${size}`,
      );
    }
  }
  const inOrder = [...tensors.values()].filter((info) => info.byteLength > 0).sort((a, b) => a.offset - b.offset);
  for (let i = 1; i < inOrder.length; i++) {
    const before = inOrder[i - 1], info = inOrder[i];
    if (before.offset + before.byteLength > info.offset) {
      throw cursor.refuse(
        `tensor ${quoted(info.name)} at offset ${info.offset} overlaps tensor ${quoted(before.name)}`,
      );
    }
  }
}
