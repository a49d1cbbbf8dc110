/**
 * A file that grows by whole lines while other processes may read it. A line that could not be written whole is taken
 * back, so that the next one does not join its half; only a kill can leave half a line, at the end.
 */
import { fileError } from "./file_error.ts";

export interface LineFile {
  /** Appends lines, each with its end, all of them or none. UserError for a full disk and the like. */
  append(lines: string): void;
  /** Forces the file to disk. */
  sync(): void;
  close(): void;
}

/** Opens a file that is there, or makes it. UserError when that cannot be. */
export function openLineFile(path: string): LineFile {
  const guard = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw fileError(error, { action: "write", path });
    }
  };
  const encoder = new TextEncoder(), file = guard(() => Deno.openSync(path, { append: true, create: true }));
  let size = guard(() => file.statSync().size), half = false;
  const takeBack = () => {
    file.truncateSync(size);
    half = false;
  };
  return {
    append(lines) {
      const bytes = encoder.encode(lines);
      guard(() => {
        if (half) takeBack();
        half = true;
        try {
          for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
        } catch (error) {
          takeBack();
          throw error;
        }
        half = false;
        size += bytes.length;
      });
    },
    sync: () => guard(() => file.syncDataSync()),
    close: () => file.close(),
  };
}
