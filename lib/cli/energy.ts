/**
 * The energy that the machine used meanwhile, whatever ran on it: of its processors by their own counters, of NVIDIA's
 * cards by the power that nvidia-smi tells. What cannot be read is null, never a guess.
 */
import { join } from "node:path";
import { systemCounter, systemNames } from "./system_files.ts";

export interface EnergyMeter {
  /** Joules since the last call or the start; null where the machine does not tell, or did not at some time between. */
  take(): Promise<number | null>;
  close(): void;
}

interface Counter {
  path: string;
  /** The value after which it begins at 0 again, microjoules. */
  range: number;
  last: number;
}

/** Between readings: a counter of 2^32 microjoules wraps after 20 s at 200 W, usual ones after minutes. */
const readEvery = 10_000;

/** Linux's RAPL counters of whole processor packages, which often only the administrator may read. */
export function processorEnergy(folder = "/sys/class/powercap"): EnergyMeter {
  const counters = findCounters(folder);
  if (counters.length === 0) return { take: () => Promise.resolve(null), close: () => {} };
  let microjoules = 0, readable = true;
  const read = () => {
    for (const counter of counters) {
      const now = systemCounter(counter.path);
      if (now === null) {
        readable = false;
        return;
      }
      microjoules += now >= counter.last ? now - counter.last : now + counter.range - counter.last;
      counter.last = now;
    }
  };
  const timer = setInterval(read, readEvery);
  Deno.unrefTimer(timer);
  return {
    take() {
      read();
      const joules = microjoules / 1e6;
      microjoules = 0;
      return Promise.resolve(readable ? joules : null);
    },
    close: () => clearInterval(timer),
  };
}

/** Whole packages only ("intel-rapl:0"): their parts ("intel-rapl:0:1") are counted in them. */
function findCounters(folder: string): Counter[] {
  return systemNames(folder).filter((name) => /^intel-rapl:\d+$/.test(name)).flatMap((name) => {
    const path = join(folder, name, "energy_uj");
    const last = systemCounter(path), range = systemCounter(join(folder, name, "max_energy_range_uj"));
    return last === null || range === null ? [] : [{ path, range, last }];
  });
}

/** Milliseconds between samples of the cards' power, and the most between two that the line between them stands for. */
const sampleEvery = 1000, longestGap = 10_000;

/**
 * All of the machine's NVIDIA cards, idle ones too: the power that nvidia-smi tells once a second (power.draw, which the
 * driver averages over a second on recent cards), joined by straight lines. Null where there is no nvidia-smi, where a
 * card does not tell (part of a card, under MIG, never does), or where a sample was late.
 */
export function cardEnergy(
  { ask = nvidiaSmi, now = () => performance.now(), every = sampleEvery } = {},
): EnergyMeter {
  let joules = 0, readable = true, last: { watts: number; at: number } | undefined;
  const sample = async () => {
    if (!readable) return;
    const begun = now(), watts = powerOf(await ask().catch(() => ""));
    // The moment meant lies somewhere in the asking.
    const at = (begun + now()) / 2;
    if (watts === null || (last && at - last.at > longestGap)) readable = false;
    else if (last) joules += (watts + last.watts) / 2 * (at - last.at) / 1000;
    if (watts !== null) last = { watts, at };
  };
  let underWay = sample();
  const timer = setInterval(() => underWay = underWay.then(sample), every);
  Deno.unrefTimer(timer);
  return {
    async take() {
      underWay = underWay.then(sample);
      await underWay;
      const found = joules;
      joules = 0;
      return readable ? found : null;
    },
    close: () => clearInterval(timer),
  };
}

/** Watts of all cards, from a line with a number for each; null where a line is none ("[N/A]") or none is there. */
function powerOf(text: string): number | null {
  const lines = text.trim().split("\n").map((line) => line.trim());
  if (!lines.every((line) => /^\d+(\.\d+)?$/.test(line))) return null;
  return lines.reduce((sum, line) => sum + Number(line), 0);
}

async function nvidiaSmi(): Promise<string> {
  const { success, stdout } = await new Deno.Command("nvidia-smi", {
    args: ["--query-gpu=power.draw", "--format=csv,noheader,nounits"],
    stdout: "piped",
    stderr: "null",
    signal: AbortSignal.timeout(5000),
  }).output();
  return success ? new TextDecoder().decode(stdout) : "";
}
