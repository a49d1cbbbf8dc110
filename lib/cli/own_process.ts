/**
 * Another command of this program as a process of its own: what it takes in memory is gone with it, and what kills it
 * kills nothing else. It runs in a process group of its own, so that Ctrl-C reaches it once, through `signal`.
 */
import { fileError } from "../files/file_error.ts";
import { ownCommand } from "./terminal.ts";

export interface Ended {
  /** 0: it did what it was asked. */
  code: number;
  /** The last lines that it printed as errors or progress. */
  tail: string[];
  /** What ended it, where that was a signal: "SIGKILL". */
  killedBy: string | null;
}

const keptLines = 12;

/** `output` gets everything that it prints, after what is there. `onLine` gets each line of its progress. */
export async function runOwn(
  args: string[],
  { signal, output, onLine }: { signal: AbortSignal; output: string; onLine: (line: string) => void },
): Promise<Ended> {
  const [program, all] = ownCommand(args);
  const file = openForAppend(output);
  try {
    const child = new Deno.Command(program, {
      args: all,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    const stop = () => kill(child);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    const tail: string[] = [];
    const keep = (line: string) => {
      if (tail.push(line) > keptLines) tail.shift();
      onLine(line);
    };
    try {
      const [status] = await Promise.all([
        child.status,
        copy(child.stdout, { file, onLine: () => {} }),
        copy(child.stderr, { file, onLine: keep }),
      ]);
      return { code: status.code, tail, killedBy: status.signal };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  } finally {
    file.close();
  }
}

function openForAppend(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { create: true, append: true });
  } catch (error) {
    throw fileError(error, { action: "write", path });
  }
}

/** As Ctrl-C does: it finishes its step and writes a checkpoint. */
function kill(child: Deno.ChildProcess): void {
  try {
    child.kill(Deno.build.os === "windows" ? "SIGTERM" : "SIGINT");
  } catch {
    // It has ended.
  }
}

/** Reads to the end, so that a full pipe never holds the child up, though the disk be full. */
async function copy(
  stream: ReadableStream<Uint8Array>,
  { file, onLine }: { file: Deno.FsFile; onLine: (line: string) => void },
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    try {
      for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
    } catch {
      // The output is kept for a person to read; the work does not need it.
    }
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  }
  if (rest !== "") onLine(rest);
}
