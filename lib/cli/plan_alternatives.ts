/** Other settings for a planned run, each with what it would come to: what would make it fit, what would make it faster. */
import { UserError } from "../errors.ts";
import type { MemoryPlan } from "../model/plan.ts";
import type { PlannedRows } from "./plan.ts";
import type { TrainSettings } from "./resolve.ts";

export interface Alternative {
  /** As ftl train takes them. */
  settings: Partial<TrainSettings>;
  /** Bytes at the peak. */
  bytes: number;
  /** Seconds of a step, and as a share of the plan's: below 1 is faster. Where times are known. */
  seconds?: number;
  ratio?: number;
  /** What it is for, where no time says so. */
  why?: string;
}

const GiB = 2 ** 30;
/** More memory lets a pass hold more rows and more layers keep their values. */
const unmeasured = "should be faster; by how much is unknown, since nothing was measured";
/** Faster by less is not worth a line. */
const worthwhile = 0.97;
const lengths = [4096, 2048, 1024, 512, 256, 128];

/** In whole tenths of a GiB, so that it can be typed. */
export const roundedUp = (bytes: number) => Math.ceil(bytes / GiB * 10 + 0.2) / 10;

export async function alternatives(
  settings: TrainSettings,
  { plan, most, rows, rowsFor, planOf, secondsOf }: {
    plan: MemoryPlan | undefined;
    /** GiB that there are at best. */
    most: number;
    /** The plan's own, and those that other settings make of the data. */
    rows: PlannedRows;
    rowsFor: (settings: TrainSettings) => Promise<PlannedRows>;
    planOf: (settings: TrainSettings, rows: PlannedRows) => Promise<MemoryPlan>;
    secondsOf: (plan: MemoryPlan, settings: TrainSettings, rows: PlannedRows) => number | undefined;
  },
): Promise<Alternative[]> {
  const now = plan && secondsOf(plan, settings, rows);
  /** What becomes of the plan with these; undefined where it does not fit. */
  async function withChanges(changes: Partial<TrainSettings>): Promise<Alternative | undefined> {
    const changed = { ...settings, ...changes };
    try {
      // Nothing else that is changed here changes the rows, and reading them can take a while.
      const found = "max_length" in changes ? await rowsFor(changed) : rows;
      const other = await planOf(changed, found), seconds = secondsOf(other, changed, found);
      const ratio = seconds !== undefined && now !== undefined ? seconds / now : undefined;
      return { settings: changes, bytes: other.bytes, seconds, ratio };
    } catch (error) {
      if (error instanceof UserError) return undefined;
      throw error;
    }
  }
  const found: (Alternative | undefined)[] = [];
  if (!plan) {
    const longest = longestOf(rows);
    const shorter = lengths.filter((length) => length < longest);
    for (const max_length of shorter) {
      const fits = await withChanges({ max_length });
      found.push(fits);
      if (fits) break;
    }
    if (settings.gradient_checkpointing === "false") found.push(await withChanges({ gradient_checkpointing: "auto" }));
    if (settings.optim === "adamw_torch") found.push(await withChanges({ optim: "adamw_8bit" }));
    if (settings.r > 8) found.push(await withChanges({ r: 8 }));
    found.push(await least());
  } else {
    const unlimited = await withChanges({ max_memory: most });
    if (unlimited && unlimited.bytes > plan.bytes && (unlimited.ratio ?? 0) < worthwhile) {
      const larger = await withChanges({ max_memory: roundedUp(unlimited.bytes) });
      found.push(larger?.ratio === undefined ? larger && { ...larger, why: unmeasured } : larger);
    }
    const smaller = await least();
    if (smaller && smaller.bytes < 0.9 * plan.bytes) found.push({ ...smaller, why: "the least that it runs in" });
  }
  return found.filter((each) => each !== undefined);

  /** The least memory that these rows can be trained in. */
  async function least(): Promise<Alternative | undefined> {
    const smallest = await withChanges({ max_memory: 2 ** 20, gradient_checkpointing: "true", ...oneRow });
    return smallest && await withChanges({ max_memory: roundedUp(smallest.bytes) });
  }
}

const oneRow = { per_device_train_batch_size: 1, gradient_accumulation_steps: 1 };

function longestOf({ positions, lengthAt }: PlannedRows): number {
  let longest = 0;
  for (let position = 0; position < Math.min(positions, 16_384); position++) {
    longest = Math.max(longest, lengthAt(position));
  }
  return longest;
}
