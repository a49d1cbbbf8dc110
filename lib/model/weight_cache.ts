/**
 * Quantised weights kept on disk: one safetensors file per model and setting, with packed codes, block maxima, and a
 * digest of each at the end. Only ever a shortcut: whatever does not match (source changed, format changed, bytes
 * damaged, file cut short) reads as "not there", and a folder that cannot be written to is left alone.
 */
import { createHash } from "node:crypto";
import { UserError } from "../errors.ts";
import { writeAtomic } from "../files/atomic.ts";
import { openFile } from "../files/file_source.ts";
import { makeFolder } from "../files/folder.ts";
import { type LazyTensor, openSafetensors, type TensorFile, writeSafetensors } from "../formats/safetensors.ts";
import { elementCount } from "../formats/tensor_file.ts";
import { nestedBlock, type QuantizedWeight } from "../quant/double_quant.ts";
import { nf4Block } from "../quant/nf4.ts";
import type { ModelTensor } from "./names.ts";

export interface CachedWeights {
  cacheDir: string;
  /** The model's path: one file is kept for each, and written anew when the model changes. */
  path: string;
  /** Changes when the model's files do. */
  fingerprint: string;
  doubleQuant: boolean;
  tensors: ModelTensor[];
}

/** Raised whenever the same model would give other bytes than before. */
const formatVersion = "2";
const digests = "sha256";

const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest();

function cachePath({ cacheDir, path, doubleQuant }: CachedWeights): string {
  const key = sha256(`${Deno.realPathSync(path)}\n${doubleQuant}`).toString("hex").slice(0, 24);
  return `${cacheDir}/${key}.nf4.safetensors`;
}

/** Bytes of a tensor's codes and of its maxima, which are, double-quantised: codes, f32 of each 256, f32 offset. */
function sizes(tensor: ModelTensor, doubleQuant: boolean): { packed: number; blocks: number; absmax: number } {
  const count = elementCount(tensor.shape), blocks = Math.ceil(count / nf4Block);
  const absmax = doubleQuant ? blocks + 4 * Math.ceil(blocks / nestedBlock) + 4 : 4 * blocks;
  return { packed: (count + 1) >> 1, blocks, absmax };
}

function absmaxBytes(absmax: QuantizedWeight["absmax"]): Uint8Array {
  if (absmax instanceof Float32Array) return new Uint8Array(absmax.buffer);
  const { codes, nestedAbsmax, offset } = absmax;
  const floats = new Uint8Array(Float32Array.of(...nestedAbsmax, offset).buffer);
  const bytes = new Uint8Array(codes.length + floats.length);
  bytes.set(codes);
  bytes.set(floats, codes.length);
  return bytes;
}

function absmaxOf(bytes: Uint8Array, { blocks, doubleQuant }: { blocks: number; doubleQuant: boolean }) {
  if (!doubleQuant) return new Float32Array(exact(bytes).buffer);
  const floats = new Float32Array(bytes.slice(blocks).buffer);
  return { codes: bytes.slice(0, blocks), nestedAbsmax: floats.slice(0, -1), offset: floats[floats.length - 1] };
}

/**
 * Hands every tensor to `use` as it is read; false when the cache is not there or not good, which may show after some
 * tensors were handed over already (they are then to be given again).
 */
export function readWeightCache(
  about: CachedWeights,
  use: (tensor: ModelTensor, weight: QuantizedWeight) => void,
): boolean {
  return withCache(about, (file) => {
    const { doubleQuant } = about, expected = file.bytes(digests);
    if (expected.length !== 64 * about.tensors.length) return false;
    for (const [i, tensor] of about.tensors.entries()) {
      const packed = file.bytes(`${tensor.name}.packed`), absmax = file.bytes(`${tensor.name}.absmax`);
      const { packed: packedBytes, blocks, absmax: absmaxBytes } = sizes(tensor, doubleQuant);
      if (packed.length !== packedBytes || absmax.length !== absmaxBytes) return false;
      const found = [sha256(packed), sha256(absmax)];
      if (!found.every((digest, part) => digest.equals(expected.subarray(64 * i + 32 * part).subarray(0, 32)))) {
        return false;
      }
      use(tensor, { packed: exact(packed), absmax: absmaxOf(absmax, { blocks, doubleQuant }) });
    }
    return true;
  });
}

/** Whether there is a cache of this model as it is now. Looks at its header only. */
export function hasWeightCache(about: CachedWeights): boolean {
  return withCache(about, () => true);
}

/** What `look` says of a cache of this model as it is now; false where there is none, or it proves to be damaged. */
function withCache(about: CachedWeights, look: (file: TensorFile) => boolean): boolean {
  let source;
  try {
    source = openFile(cachePath(about));
    const file = openSafetensors(source);
    const { version, fingerprint } = file.metadata;
    return version === formatVersion && fingerprint === about.fingerprint && look(file);
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  } finally {
    source?.close();
  }
}

/** The bytes alone in their buffer. */
function exact(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const alone = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
  return (alone ? bytes : bytes.slice()) as Uint8Array<ArrayBuffer>;
}

/** Quantises every tensor, one at a time, into the cache. False when that cannot be written; other errors are thrown. */
export function writeWeightCache(about: CachedWeights, quantize: (tensor: ModelTensor) => QuantizedWeight): boolean {
  let failure: unknown;
  const found = new Uint8Array(64 * about.tensors.length);
  const entries = about.tensors.flatMap((tensor, i): LazyTensor[] => {
    const { packed, absmax } = sizes(tensor, about.doubleQuant);
    let maxima: Uint8Array;
    const digested = (bytes: Uint8Array, part: number) => {
      found.set(sha256(bytes), 64 * i + 32 * part);
      return bytes;
    };
    const first = () => {
      try {
        const weight = quantize(tensor);
        maxima = absmaxBytes(weight.absmax);
        return digested(weight.packed, 0);
      } catch (error) {
        failure = error;
        throw error;
      }
    };
    return [
      { name: `${tensor.name}.packed`, dtype: "U8", shape: [packed], byteLength: packed, data: first },
      {
        ...{ name: `${tensor.name}.absmax`, dtype: "U8", shape: [absmax], byteLength: absmax },
        data: () => digested(maxima, 1),
      },
    ];
  });
  const last: LazyTensor = {
    name: digests,
    dtype: "U8",
    shape: [found.length],
    byteLength: found.length,
    data: () => found,
  };
  try {
    makeFolder(about.cacheDir);
    const metadata = { version: formatVersion, fingerprint: about.fingerprint, model: Deno.realPathSync(about.path) };
    writeAtomic(cachePath(about), writeSafetensors([...entries, last], metadata));
    return true;
  } catch (error) {
    if (failure !== undefined) throw failure;
    if (error instanceof UserError || isFileError(error)) return false;
    throw error;
  }
}

function isFileError(error: unknown): boolean {
  return error instanceof Error &&
    (typeof (error as { code?: unknown }).code === "string" || /os error/.test(error.message));
}
