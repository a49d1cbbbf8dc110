/**
 * The energy that the processors used, where Linux tells it: the RAPL counters of whole processor packages in
 * /sys/class/powercap, which often only the administrator may read. Of the whole machine, whatever runs on it.
 */
import { join } from "node:path";

export interface EnergyMeter {
  /** Joules since the last call or the start; null where the machine does not tell. */
  take(): number | null;
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

export function energyMeter(folder = "/sys/class/powercap"): EnergyMeter {
  const counters = findCounters(folder);
  if (counters.length === 0) return { take: () => null, close: () => {} };
  let microjoules = 0, readable = true;
  const read = () => {
    for (const counter of counters) {
      const now = readNumber(counter.path);
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
      return readable ? joules : null;
    },
    close: () => clearInterval(timer),
  };
}

/** Whole packages only ("intel-rapl:0"): their parts ("intel-rapl:0:1") are counted in them. */
function findCounters(folder: string): Counter[] {
  let names: string[];
  try {
    names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => /^intel-rapl:\d+$/.test(name));
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const path = join(folder, name, "energy_uj");
    const last = readNumber(path), range = readNumber(join(folder, name, "max_energy_range_uj"));
    return last === null || range === null ? [] : [{ path, range, last }];
  });
}

function readNumber(path: string): number | null {
  try {
    const value = Number(Deno.readTextFileSync(path).trim());
    return Number.isFinite(value) ? value : null;
  } catch {
    return null;
  }
}
