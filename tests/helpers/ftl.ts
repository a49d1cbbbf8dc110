/** The program as a person runs it: a process of its own in a folder of its own, with a cache of its own. */
import { filesBelow } from "./files_below.ts";
import { makeTinyFolder } from "./tiny_folders.ts";

const main = new URL("../../main.ts", import.meta.url).pathname;

/** What starts `ftl` with these arguments, for tests that start it in their own way. */
export const ftlCommand = (args: string[]) => [Deno.execPath(), "run", "--allow-all", "--quiet", main, ...args];

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export interface Workplace {
  folder: string;
  /** Runs `ftl` with these arguments here. */
  ftl(args: string[], env?: Record<string, string>): Promise<Ran>;
  /** Starts it, to be interrupted. */
  start(args: string[]): Deno.ChildProcess;
  /** Writes a file of this folder. */
  write(name: string, content: string | Uint8Array): void;
  /** Names in a folder below, sorted; empty when there is none. */
  list(name: string): string[];
}

/** Files below a folder that hold a text. */
export function filesWith(folder: string, text: string): string[] {
  const holds = (path: string) => new TextDecoder("latin1").decode(Deno.readFileSync(path)).includes(text);
  return filesBelow(folder).filter((file) => holds(`${folder}/${file}`));
}

/** Rows that a tiny model can learn. */
export const rows = ["red", "green", "blue", "black", "white", "brown"].map((word, i) =>
  JSON.stringify({ instruction: `What is number ${i}?`, input: "", output: `Number ${i} is ${word}.` }) + "\n"
).join("");

/** Calls `body` in a new folder with rows.jsonl and, named "model", a tiny model with a tokenizer. */
export async function inWorkplace(body: (place: Workplace) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  const command = (args: string[], env: Record<string, string> = {}) =>
    new Deno.Command(Deno.execPath(), {
      args: ftlCommand(args).slice(1),
      cwd: folder,
      env: { FTL_CACHE: `${folder}/cache`, NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  try {
    Deno.renameSync(makeTinyFolder("llama_tied", folder), `${folder}/model`);
    Deno.writeTextFileSync(`${folder}/rows.jsonl`, rows);
    await body({
      folder,
      async ftl(args, env) {
        const { code, stdout, stderr } = await command(args, env).output();
        const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
        return { code, stdout: text(stdout), stderr: text(stderr) };
      },
      start: (args) => command(args).spawn(),
      write: (name, content) =>
        Deno.writeFileSync(
          `${folder}/${name}`,
          typeof content === "string" ? new TextEncoder().encode(content) : content,
        ),
      list(name) {
        try {
          return [...Deno.readDirSync(`${folder}/${name}`)].map((entry) => entry.name).sort();
        } catch {
          return [];
        }
      },
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Settings of a training run that takes about a second on the tiny model. */
export const tinyTraining = [
  "train",
  "-m",
  "model",
  "-d",
  "rows.jsonl",
  "-s",
  "4",
  "-w",
  "1",
  "--questions",
  "1",
  "--threads",
  "1",
];
