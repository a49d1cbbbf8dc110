/**
 * Fuzzes every reader of files: `deno run -A tests/hostile/fuzz.ts [minutes] [reader] [--seed n] [--out folder]`; with
 * `--file path reader` it reads that one file and says what comes of it.
 *
 * A file is damaged with its structure in mind and read to its end. Wrong are: an error that is not a UserError of one
 * line, more CPU time or memory than `limits` say, an end of the process. Files that a reader answers as it answered no
 * other are kept and damaged further, which leads deeper than damage to the valid files alone. Each reader runs in a
 * process of its own, watched from outside; a file that fails is made smaller while it fails and left in the folder.
 */
import { join } from "node:path";
import { cpuUsage } from "node:process";
import { UserError } from "../../lib/errors.ts";
import { ApiError } from "../../lib/serve/api_error.ts";
import { randomBits } from "../helpers/bytes.ts";
import { damagedFile, type Reader, readers } from "./readers.ts";

/**
 * Of one execution. Memory: twice the file, and what any may take (the engine's young heap, a line of the longest that is read). Time: some
 * seconds, and what it takes to tokenise a text of any length, 10 us a character.
 */
export const limits = { cpuSeconds: 3, perCharacter: 2e-5, allowance: 96 << 20, perByte: 2 };

/** Kept beside the valid files. */
const mostKept = 300;

export interface Outcome {
  /** What happened, without the numbers and quotes that differ from file to file. */
  answer: string;
  /** The refusal in full. */
  message?: string;
  /** Set where that must not happen. */
  fault?: string;
}

// deno-lint-ignore no-control-regex
const control = /[\x00-\x09\x0b-\x1f]/;

/** Reads one file and judges what came of it. */
export async function execute(reader: Reader, bytes: Uint8Array): Promise<Outcome> {
  const memory = watchMemory(), begin = cpuSeconds();
  let outcome: Outcome = { answer: "read" };
  try {
    await reader.read(bytes);
  } catch (error) {
    outcome = judged(error, reader);
  }
  const seconds = cpuSeconds() - begin, grown = memory();
  if (outcome.fault !== undefined) return outcome;
  if (seconds > limits.cpuSeconds + limits.perCharacter * bytes.length) {
    return { answer: "slow", fault: `${seconds.toFixed(1)} s of CPU time` };
  }
  if (grown > limits.allowance + limits.perByte * bytes.length) {
    return { answer: "large", fault: `${Math.round(grown / 2 ** 20)} MiB for a file of ${bytes.length} bytes` };
  }
  return outcome;
}

function judged(error: unknown, reader: Reader): Outcome {
  if (error instanceof ApiError) return { answer: `${error.status} ${shape(error.message)}`, message: error.message };
  if (!(error instanceof UserError)) {
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    return { answer: `threw ${shape(text.split("\n")[0])}`, fault: text.split("\n").slice(0, 6).join("\n") };
  }
  const { message, hint = "" } = error, text = message + hint;
  const odd = control.test(text) || /\n/.test(hint) || (!reader.lines && message.includes("\n"))
    ? "has control characters or lines"
    : message.length > (reader.lines ? 40_000 : 1000) || hint.length > 1000
    ? `has ${message.length} characters`
    : undefined;
  return {
    answer: shape(message),
    message,
    fault: odd && `a message that ${odd}: ${JSON.stringify(text.slice(0, 300))}`,
  };
}

const shape = (text: string) =>
  text.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/-?\d+(\.\d+)?(e[+-]?\d+)?/g, "0").slice(0, 80);

const cpuSeconds = () => {
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
};

/** Bytes by which the process's memory, and V8's count of what it holds, grew at most since the call. */
function watchMemory(): () => number {
  const held = () => {
    const { heapUsed, external } = Deno.memoryUsage();
    return heapUsed + external;
  };
  const resident = (key: string) =>
    1024 * Number(new RegExp(`${key}:\\s+(\\d+)`).exec(Deno.readTextFileSync("/proc/self/status"))?.[1] ?? 0);
  if (Deno.build.os !== "linux") {
    const before = held();
    return () => held() - before;
  }
  // Sets the highest resident size back to the present one.
  Deno.writeTextFileSync("/proc/self/clear_refs", "5");
  const before = { resident: resident("VmRSS"), held: held() };
  return () => Math.max(resident("VmHWM") - before.resident, held() - before.held);
}

export interface Finding {
  reader: string;
  fault: string;
  bytes: Uint8Array;
}

export interface Fuzzed {
  executions: number;
  refused: number;
  answers: Set<string>;
  findings: Finding[];
}

/** Damages and reads until `stop` says so. `onFile` is told each file before it is read. */
export async function fuzz(reader: Reader, options: {
  seed: number;
  stop: (executions: number) => boolean;
  onFile?: (bytes: Uint8Array) => void;
}): Promise<Fuzzed> {
  const random = randomBits(options.seed), valid = await reader.seeds(), kept: Uint8Array[] = [];
  const result: Fuzzed = { executions: 0, refused: 0, answers: new Set(), findings: [] };
  const faults = new Set<string>();
  for (const bytes of valid) {
    const { answer } = await execute(reader, bytes);
    if (answer !== "read") throw new Error(`${reader.name}: a valid file is not read: ${answer}`);
  }
  while (!options.stop(result.executions)) {
    const bytes = await damagedFile(reader, random() % 3 && kept.length > 0 ? kept : valid, random);
    options.onFile?.(bytes);
    const { answer, fault } = await execute(reader, bytes);
    result.executions++;
    if (answer !== "read") result.refused++;
    if (fault !== undefined && !faults.has(answer)) {
      // A second time, since a clean-up of memory may have come between.
      if (answer === "large" || answer === "slow") {
        if ((await execute(reader, bytes)).answer !== answer) continue;
      }
      faults.add(answer);
      result.findings.push({ reader: reader.name, fault, bytes: await smaller(reader, bytes, answer) });
    }
    if (!result.answers.has(answer) && fault === undefined && bytes.length < 100_000) {
      result.answers.add(answer);
      if (kept.length < mostKept) kept.push(bytes);
      else kept[random() % mostKept] = bytes;
    }
  }
  return result;
}

/** The file with as much taken out as can be while the reader answers the same. */
async function smaller(reader: Reader, bytes: Uint8Array, answer: string): Promise<Uint8Array> {
  let best = bytes, tries = 300;
  const end = performance.now() + 10_000;
  for (let piece = bytes.length >> 1; piece >= 1 && tries > 0; piece >>= 1) {
    for (let at = 0; at < best.length && tries-- > 0 && performance.now() < end;) {
      const shorter = Uint8Array.from([...best.subarray(0, at), ...best.subarray(at + piece)]);
      if ((await execute(reader, shorter)).answer === answer) best = shorter;
      else at += piece;
    }
  }
  return best;
}

/** Where the file lies that is being read, in memory where the system has a folder there. */
const currentFile = (pid: number) => join(Deno.build.os === "linux" ? "/dev/shm" : ".", `ftl-fuzz-${pid}`);

/** One reader in this process, for `seconds`; the file being read lies in the folder, for whoever watches. */
async function child(name: string, { seconds, seed, out }: { seconds: number; seed: number; out: string }) {
  const reader = readers.find((one) => one.name === name)!;
  const end = performance.now() + seconds * 1000, current = currentFile(Deno.pid);
  const { executions, refused, answers, findings } = await fuzz(reader, {
    seed,
    stop: (count) => count % 16 === 0 && performance.now() > end,
    onFile: (bytes) => Deno.writeFileSync(current, bytes),
  });
  Deno.removeSync(current);
  for (const [i, { fault, bytes }] of findings.entries()) {
    const path = join(out, `${name.replace(/\W+/g, "-")}-${seed}-${i}`);
    Deno.writeFileSync(path, bytes);
    console.error(`FINDING ${name}: ${fault}\n  ${bytes.length} bytes in ${path}`);
  }
  console.log(JSON.stringify({ executions, refused, answers: answers.size, findings: findings.length }));
}

/** Runs a child and ends it where it hangs: a file may take seconds, not a minute. */
async function watched(name: string, { seconds, seed, out }: { seconds: number; seed: number; out: string }) {
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "--quiet", "--v8-flags=--max-old-space-size=1024", import.meta.filename!],
      ...["--child", name, String(seconds), String(seed), out],
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let hangs = false;
  const timer = setTimeout(() => {
    hangs = true;
    process.kill("SIGKILL");
  }, (seconds * 1.5 + 90) * 1000);
  const { success, stdout, code, signal } = await process.output();
  clearTimeout(timer);
  if (success) return JSON.parse(new TextDecoder().decode(stdout)) as Record<string, number>;
  const path = join(out, `${name.replace(/\W+/g, "-")}-${seed}-${hangs ? "hang" : "end"}`);
  try {
    Deno.copyFileSync(currentFile(process.pid), path);
    Deno.removeSync(currentFile(process.pid));
  } catch {
    // It ended before the first file.
  }
  console.error(`FINDING ${name}: ${hangs ? "hangs" : `ends the process by ${signal ?? code}`}, ${path}`);
  return { executions: 0, refused: 0, answers: 0, findings: 1 };
}

async function main([minutes = "1", only]: string[], { seed, out }: { seed: number; out: string }): Promise<number> {
  const chosen = readers.filter(({ name }) => only === undefined || name === only);
  if (chosen.length === 0) throw new Error(`readers are ${readers.map(({ name }) => name).join(", ")}`);
  Deno.mkdirSync(out, { recursive: true });
  // Several rounds, so that every reader has had its turn whenever this is stopped.
  const rounds = Math.max(1, Math.round(Number(minutes) * 60 / chosen.length / 20));
  const seconds = Number(minutes) * 60 / chosen.length / rounds;
  const totals = new Map<string, Record<string, number>>();
  for (let round = 0; round < rounds; round++) {
    for (const { name } of chosen) {
      const found = await watched(name, { seconds, seed: seed + round, out }), total = totals.get(name) ?? {};
      for (const [key, value] of Object.entries(found)) {
        total[key] = key === "answers" ? Math.max(total[key] ?? 0, value) : (total[key] ?? 0) + value;
      }
      totals.set(name, total);
    }
  }
  console.table(Object.fromEntries(totals));
  const sum = (key: string) => [...totals.values()].reduce((all, total) => all + total[key], 0);
  console.log(`${sum("executions")} executions in ${minutes} minutes, ${sum("findings")} findings`);
  return sum("findings") === 0 ? 0 : 1;
}

if (import.meta.main) {
  const args = [...Deno.args];
  const option = (name: string, otherwise: string) => {
    const at = args.indexOf(name);
    return at < 0 ? otherwise : args.splice(at, 2)[1];
  };
  const file = option("--file", "");
  if (file !== "") {
    const reader = readers.find(({ name }) => name === args[0])!;
    console.log(await execute(reader, Deno.readFileSync(file)));
  } else if (args[0] === "--child") {
    await child(args[1], { seconds: Number(args[2]), seed: Number(args[3]), out: args[4] });
  } else {
    const seed = Number(option("--seed", "1")), out = option("--out", join(Deno.cwd(), "fuzz-findings"));
    Deno.exitCode = await main(args, { seed, out });
  }
}
