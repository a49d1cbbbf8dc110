/**
 * A file as a ByteSource: each read seeks and reads, nothing is kept. Sync, because the readers are.
 * The size is taken once, at opening; a file that shrinks afterwards gives a UserError.
 */
import { UserError } from "../errors.ts";
import { type ByteSource, checkRange } from "../formats/byte_source.ts";
import { fileError } from "./file_error.ts";

/** Opens a file for reading. UserError when it is missing, a directory, or not readable. */
export function openFile(path: string): ByteSource {
  let file: Deno.FsFile | undefined;
  let size: number;
  try {
    const info = Deno.statSync(path);
    if (info.isDirectory) {
      throw new UserError(`Cannot read ${path}: it is a directory`, { hint: "Name a file." });
    }
    size = info.size;
    file = Deno.openSync(path, { read: true });
  } catch (error) {
    throw fileError(error, { action: "read", path });
  }
  return {
    name: path,
    size,
    read(offset, length) {
      checkRange({ name: path, size }, { offset, length });
      if (!file) throw new Error(`${path} is closed`);
      const bytes = new Uint8Array(length);
      try {
        file.seekSync(offset, Deno.SeekMode.Start);
        for (let done = 0; done < length;) {
          const read = file.readSync(bytes.subarray(done));
          if (!read) {
            throw new UserError(
              `Cannot read ${path}: it ended at offset ${offset + done}, its size was ${size} when opened`,
              { hint: "Something changed the file meanwhile: run it again when nothing writes to it." },
            );
          }
          done += read;
        }
      } catch (error) {
        throw fileError(error, { action: "read", path });
      }
      return bytes;
    },
    close() {
      file?.close();
      file = undefined;
    },
  };
}
