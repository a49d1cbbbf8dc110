/**
 * How much memory it takes to read a large file of each kind to its end: `deno run -A tests/bench/read_memory.ts [MB]`.
 * Each is read by a process of its own, as a command reads it; told are its size, and the highest resident size (VmHWM)
 * beyond what the process had before. Linux only.
 */
import { parquetWriteBuffer } from "hyparquet-writer";
import { readRows } from "../../lib/data/read.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { inFileOrder, type LazyTensor, type TensorFile } from "../../lib/formats/tensor_file.ts";
import { xlsxOf } from "../helpers/tables.ts";

const memory = (key: string) =>
  Number(new RegExp(`${key}:\\s+(\\d+)`).exec(Deno.readTextFileSync("/proc/self/status"))![1]) / 1024;

const tensorBytes = 8 << 20;
const tensors = (bytes: number): LazyTensor[] =>
  Array.from({ length: Math.ceil(bytes / tensorBytes) }, (_, i) => ({
    ...{ name: `layer.${i}.weight`, dtype: "F16", shape: [2048, 2048], byteLength: tensorBytes },
    data: () => new Uint8Array(tensorBytes).fill(i),
  }));

const answer = (i: number) => `Answer ${i}: ` + "so it is, they say, ".repeat(48);
function* lines(bytes: number, head: string, line: (i: number) => string): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  yield encoder.encode(head);
  for (let i = 0, written = 0; written < bytes; i++) {
    const made = encoder.encode(line(i));
    written += made.length;
    yield made;
  }
}

const kinds: Record<string, (bytes: number) => Iterable<Uint8Array>> = {
  safetensors: (bytes) => writeSafetensors(tensors(bytes)),
  gguf: (bytes) => writeGguf([["general.architecture", { type: "string", value: "llama" }]], tensors(bytes)),
  jsonl: (bytes) =>
    lines(bytes, "", (i) => JSON.stringify({ instruction: `Question ${i}?`, output: answer(i) }) + "\n"),
  json: (bytes) =>
    lines(bytes, "[", (i) => JSON.stringify({ instruction: `Question ${i}?`, output: answer(i) }) + ",\n"),
  csv: (bytes) => lines(bytes, "instruction,output\n", (i) => `Question ${i}?,"${answer(i)}"\n`),
  txt: (bytes) => lines(bytes, "", (i) => answer(i) + "\n"),
  parquet(bytes) {
    const rows = Array.from({ length: Math.ceil(bytes / 1000) }, (_, i) => i);
    const column = (name: string, data: string[]) => ({
      name,
      data,
      type: "STRING" as const,
      encoding: "PLAIN" as const,
    });
    const columnData = [column("instruction", rows.map((i) => `Question ${i}?`)), column("output", rows.map(answer))];
    return [new Uint8Array(parquetWriteBuffer({ columnData, codec: "UNCOMPRESSED", rowGroupSize: 10_000 }))];
  },
  // So many bytes of XML, not packed, so that file and content are of one size.
  xlsx(bytes) {
    const cells = Array.from({ length: Math.ceil(bytes / 1120) }, (_, i) => [`Question ${i}?`, answer(i)]);
    return [xlsxOf({ Rows: [["instruction", "output"], ...cells] }, { level: 0 })];
  },
};

async function read(kind: string, path: string): Promise<void> {
  const before = memory("VmRSS"), source = openFile(path);
  const readAll = (file: TensorFile) => {
    for (const { name } of inFileOrder(file)) file.bytes(name);
    return file.tensors.size;
  };
  let count = 0;
  if (kind === "safetensors") count = readAll(openSafetensors(source));
  else if (kind === "gguf") count = readAll(openGguf(source));
  else for await (const _ of readRows(source, { notes: [] })) count++;
  const size = source.size / 2 ** 20, grown = memory("VmHWM") - before;
  console.log(
    `${kind.padEnd(12)} ${size.toFixed(0).padStart(5)} MiB  ${grown.toFixed(0).padStart(6)} MiB more  ` +
      `${(grown / size).toFixed(2)} x the file  (${count} tensors or rows, ${before.toFixed(0)} MiB before)`,
  );
}

if (import.meta.main) {
  const [first = "200", kind, path] = Deno.args;
  if (first === "--read") await read(kind, path);
  else {
    const folder = Deno.makeTempDirSync();
    for (const [kind, make] of Object.entries(kinds)) {
      const file = `${folder}/rows.${kind}`;
      using out = Deno.openSync(file, { write: true, create: true });
      for (const chunk of make(Number(first) * 1e6)) {
        for (let done = 0; done < chunk.length;) done += out.writeSync(chunk.subarray(done));
      }
      if (kind === "json") {
        // The comma after the last element, and the line's end.
        out.seekSync(-2, Deno.SeekMode.End);
        out.writeSync(new TextEncoder().encode("]\n"));
      }
      const args = ["run", "-A", "--no-check", "--quiet", import.meta.filename!, "--read", kind, file];
      await new Deno.Command(Deno.execPath(), { args, stdout: "inherit", stderr: "inherit" }).output();
      Deno.removeSync(file);
    }
    Deno.removeSync(folder, { recursive: true });
  }
}
