/** `ftl plan`, and `ftl train` of the same, as a person runs them: what was expected and what was taken. */
import { openModel } from "../../lib/model/source.ts";
import { tokenizerOf } from "../../lib/cli/load.ts";
import type { RunPlan } from "../../lib/cli/plan_report.ts";
import { resolveTrain } from "../../lib/cli/resolve.ts";
import { chooseFiles } from "../../lib/cli/data_files.ts";
import { prepareRows } from "../../lib/cli/rows.ts";
import { readLog } from "../../lib/train/log.ts";
import { writeRandomCheckpoint } from "./random_checkpoint.ts";

const main = new URL("../../main.ts", import.meta.url).pathname;

export interface Planned {
  shape: string;
  /** Rows of the data, and about how many tokens each has. */
  rows: number;
  length: number;
  flags: string[];
}

export interface Taken {
  /** Bytes at the peak. */
  bytes: number;
  /** Of a step; measured: of the second. */
  seconds: number;
}

/** `keep`: a folder for checkpoints and caches, used where they are there already. */
export async function plannedAndMeasured(
  { shape, rows, length, flags }: Planned,
  { keep }: { keep?: string } = {},
): Promise<{ planned: Taken; measured: Taken; parts: Record<string, number> }> {
  const folder = Deno.makeTempDirSync(), kept = keep ?? folder, model = `${kept}/${shape}`;
  try {
    if (!exists(`${model}/model.safetensors.index.json`)) writeRandomCheckpoint(shape, model);
    Deno.writeTextFileSync(`${folder}/rows.jsonl`, await rowsOf(model, { rows, length }));
    const settings = [...["-m", model, "-d", `${folder}/rows.jsonl`, "--max-length", String(length)], ...flags];
    const env = { FTL_CACHE: `${kept}/cache`, NO_COLOR: "1" };
    const command = (args: string[]) => ({ args: ["run", "-A", "--quiet", main, ...args], cwd: folder, env });
    const training = ["train", ...settings, "-s", "2", "--questions", "0", "--engine", "onnx", "-o", `${folder}/run`];
    const child = new Deno.Command(Deno.execPath(), { ...command(training), stdout: "null", stderr: "piped" }).spawn();
    const bytes = await peakOf(child);
    const { stdout } = await new Deno.Command(
      Deno.execPath(),
      command(["plan", ...settings, "-s", "2", "--engine", "onnx", "--json"]),
    ).output();
    const plan = JSON.parse(new TextDecoder().decode(stdout)) as RunPlan;
    return {
      planned: { bytes: plan.memory!.bytes, seconds: plan.step.seconds! },
      measured: { bytes, seconds: readLog(`${folder}/run/log.jsonl`)[1].seconds },
      parts: plan.memory!.parts,
    };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Most that a process holds in memory until its end, by asking again and again. Throws when it fails. */
async function peakOf(child: Deno.ChildProcess): Promise<number> {
  let peak = 0;
  const timer = setInterval(() => {
    try {
      const status = Deno.readTextFileSync(`/proc/${child.pid}/status`);
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024);
    } catch {
      // It has just ended.
    }
  }, 20);
  const { code, stderr } = await child.output();
  clearInterval(timer);
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
  return peak;
}

/** Rows of the longest answer that still fits. */
async function rowsOf(model: string, { rows, length }: { rows: number; length: number }): Promise<string> {
  const source = openModel(model), tokenizer = tokenizerOf(source), file = Deno.makeTempFileSync({ suffix: ".jsonl" });
  const text = (words: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const messages = [["user", `Say ${i}`], ["assistant", "a ".repeat(words)]];
      return JSON.stringify({ messages: messages.map(([role, content]) => ({ role, content })) }) + "\n";
    }).join("");
  const { settings } = resolveTrain({ flags: { data: [file], max_length: length } });
  const fits = async (words: number) => {
    Deno.writeTextFileSync(file, text(words, 1));
    try {
      const { examples } = await prepareRows(settings, await chooseFiles(settings), tokenizer);
      return examples.length === 1;
    } catch {
      return false; // none of the rows can be trained on
    }
  };
  let low = 1, high = length;
  while (low < high) {
    const words = (low + high + 1) >> 1;
    if (await fits(words)) low = words;
    else high = words - 1;
  }
  source.close();
  Deno.removeSync(file);
  return text(low, rows);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
