/**
 * How long 100,000 rows of about 300 characters take from file to tokens, and how much memory, for each kind of file.
 * Each runs in a process of its own, so that the peak is its own: `deno run -A tests/bench/data_load.ts [rows]`.
 */
import { join } from "node:path";
import { ByteWriter, parquetWrite } from "hyparquet-writer";
import { loadDataset } from "../../lib/data/dataset.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { smollm2Tokenizer } from "../helpers/tokenizers.ts";

const kinds = ["jsonl", "csv", "parquet", "chat.jsonl"];
const [count = "100000", child] = Deno.args;

async function load(path: string) {
  const tokenizer = smollm2Tokenizer();
  tokenizer.encode("");
  const begin = performance.now(), before = cpuSeconds();
  const { examples, similar } = await loadDataset({
    files: { name: path, open: [() => openFile(path)] },
    format: "auto",
    columns: null,
    rendering: () => ({ tokenizer, maxLength: 2048 }),
  });
  const seconds = (performance.now() - begin) / 1000, cpu = cpuSeconds() - before;
  let tokens = 0;
  for (let i = 0; i < examples.length; i++) tokens += examples.lengthAt(i);
  const peak = Number(/VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))![1]) * 1024;
  return { rows: examples.length, tokens, near: similar.size, seconds, cpu, peak };
}

/** User and system time of this process so far; /proc counts in hundredths. */
function cpuSeconds(): number {
  const fields = Deno.readTextFileSync("/proc/self/stat").replace(/.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function bench(count: number): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const rows = Array.from({ length: count }, (_, i) => makeRow(i));
    const write = (kind: string, lines: Iterable<string>) => {
      const file = Deno.openSync(join(folder, `rows.${kind}`), { write: true, create: true });
      for (const line of lines) file.writeSync(new TextEncoder().encode(line + "\n"));
      file.close();
    };
    write("jsonl", rows.map((row) => JSON.stringify(row)));
    write("csv", ["instruction,output", ...rows.map((row) => `"${row.instruction}","${row.output}"`)]);
    write(
      "chat.jsonl",
      rows.map(({ instruction: user, output }) =>
        JSON.stringify({ messages: [{ role: "user", content: user }, { role: "assistant", content: output }] })
      ),
    );
    const writer = new ByteWriter();
    const columnData = (["instruction", "output"] as const).map((name) => ({
      name,
      data: rows.map((row) => row[name]),
    }));
    parquetWrite({ writer, columnData });
    Deno.writeFileSync(join(folder, "rows.parquet"), writer.getBytes());
    for (const kind of kinds) {
      const path = join(folder, `rows.${kind}`);
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", new URL(import.meta.url).pathname, String(count), path],
        stderr: "inherit",
      }).output();
      const { rows, tokens, near, seconds, cpu, peak } = JSON.parse(new TextDecoder().decode(stdout));
      console.log(
        `${kind.padEnd(10)} ${(Deno.statSync(path).size / 1e6).toFixed(1).padStart(6)} MB: ${rows} rows, ` +
          `${(tokens / 1e6).toFixed(1)} M tokens, ${near} near duplicates, ${seconds.toFixed(1)} s (${
            cpu.toFixed(1)
          } s of CPU), ` +
          `peak ${(peak / 2 ** 20).toFixed(0)} MiB`,
      );
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** About 300 characters; words as frequent as those of a language (Zipf's law over 10,000), commas, a number now and then. */
function makeRow(i: number): { instruction: string; output: string } {
  const text = (n: number) => {
    let made = "";
    while (made.length < n) {
      const word = next() < 0.02 ? String(Math.floor(next() ** 4 * 1e4)) : vocabulary[Math.floor(10000 ** next()) - 1];
      made += ` ${word}${next() < 0.1 ? "," : ""}`;
    }
    return made.trim();
  };
  return { instruction: `${i}: ${text(90)}?`, output: `${text(200)}.` };
}

let state = 1;
function next(): number {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return state / 0x80000000;
}

const syllables = "ba tik de co ra ting cloth wa x and dye ja va peo ple wear ré ß друж 文 tion er ing ly un re".split(
  " ",
);
const vocabulary = Array.from({ length: 10000 }, (_, i) => {
  let word = syllables[i % syllables.length];
  for (let rest = Math.floor(i / syllables.length); rest > 0; rest = Math.floor(rest / syllables.length)) {
    word += syllables[rest % syllables.length];
  }
  return word;
});

if (child) console.log(JSON.stringify(await load(child)));
else await bench(Number(count));
