/**
 * Files in a zip archive, found by its central directory (read by yauzl) and unpacked piece by piece: no more is held
 * than the list of files and the piece in hand. What the archive says of sizes and checksums is checked while it is read.
 */
import { crc32 } from "node:zlib";
import { fromRandomAccessReaderPromise, RandomAccessReader } from "yauzl";
import type { ByteSource } from "./byte_source.ts";

export interface ZipEntry {
  name: string;
  /** Bytes, unpacked, as the archive says. */
  size: number;
  /** The content from its beginning, at most 4 MiB at a time. Errors: Error for damage, UserError of the source. */
  pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>>;
}

/** What is used here of yauzl, which has no types: https://github.com/thejoshwolfe/yauzl#class-zipfile */
interface Archive {
  eachEntry(): AsyncIterable<Described>;
  readLocalFileHeaderPromise(entry: Described, options: { minimal: true }): Promise<{ fileDataStart: number }>;
}

interface Described {
  fileName: string;
  /** 0 is stored, 8 is deflated. */
  compressionMethod: number;
  compressedSize: number;
  uncompressedSize: number;
  crc32: number;
  isEncrypted(): boolean;
}

/** Packed bytes unpacked at a time; deflate makes at most 1032 times as many. */
const packedBytes = 1 << 12;
/** More files than an archive without the extension for large ones can list. */
const mostEntries = 1 << 16;

/** The files of an archive, in its order. Errors: Error for something that is no zip archive, UserError of the source. */
export async function openZip(source: ByteSource): Promise<ZipEntry[]> {
  const archive: Archive = await fromRandomAccessReaderPromise(readerOf(source), source.size, { autoClose: false });
  const entries: ZipEntry[] = [];
  for await (const entry of archive.eachEntry()) {
    if (entries.length === mostEntries) throw new Error(`it lists more than ${mostEntries} files`);
    const { fileName: name, uncompressedSize: size } = entry;
    entries.push({ name, size, pieces: () => piecesOf(entry, { archive, source }) });
  }
  return entries;
}

/** The source as yauzl reads it: into a buffer, less at the end. */
function readerOf(source: ByteSource) {
  type Done = (error: unknown, length?: number) => void;
  return Object.assign(new RandomAccessReader(), {
    read(buffer: Uint8Array, offset: number, length: number, position: number, done: Done) {
      let bytes: Uint8Array;
      try {
        const start = Math.min(position, source.size);
        bytes = source.read(start, Math.min(length, source.size - start));
      } catch (error) {
        return done(error);
      }
      buffer.set(bytes, offset);
      done(null, bytes.length);
    },
  });
}

async function* piecesOf(
  entry: Described,
  { archive, source }: { archive: Archive; source: ByteSource },
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { fileName: name, compressionMethod: method, uncompressedSize } = entry;
  if (entry.isEncrypted()) throw new Error(`${name} has a password`);
  if (method !== 0 && method !== 8) throw new Error(`${name} is packed by an unknown method, ${method}`);
  const { fileDataStart } = await archive.readLocalFileHeaderPromise(entry, { minimal: true });
  const packed = ReadableStream.from(bytesAt(source, fileDataStart, entry.compressedSize));
  let size = 0, sum = 0;
  for await (const piece of method === 0 ? packed : packed.pipeThrough(new DecompressionStream("deflate-raw"))) {
    size += piece.length;
    if (size > uncompressedSize) break;
    sum = crc32(piece, sum);
    yield piece;
  }
  if (size !== uncompressedSize) throw new Error(`${name} does not unpack to the ${uncompressedSize} bytes it should`);
  if (sum !== entry.crc32) throw new Error(`the checksum of ${name} is wrong`);
}

function* bytesAt(source: ByteSource, start: number, length: number): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < length; at += packedBytes) {
    yield source.read(start + at, Math.min(packedBytes, length - at)) as Uint8Array<ArrayBuffer>;
  }
}
