/**
 * Which positions of the data each optimiser step takes, and how many steps there are, as Hugging Face's Trainer counts:
 * a window is batch x accumulation rows and ends with the epoch at the latest, so an epoch's last one may be smaller.
 * A position counts rows from 0 over all epochs.
 */
import { UserError } from "../errors.ts";

export interface Windows {
  /** Rows of a full window. */
  size: number;
  stepsPerEpoch: number;
  totalSteps: number;
  /** Positions [start, end) of step k = 0, 1, ... */
  at(k: number): { start: number; end: number };
}

/** `maxSteps` above 0 wins over `epochs`, which may be a fraction. UserError when nothing is left to do. */
export function planWindows(options: {
  rows: number;
  batchSize: number;
  accumulation: number;
  maxSteps: number;
  epochs: number;
}): Windows {
  const { rows, batchSize, accumulation, maxSteps, epochs } = options;
  if (!(rows >= 1)) {
    throw new UserError("Cannot train: the data has no rows", {
      hint: "Check the data file, and what cleaning removed from it.",
    });
  }
  const size = batchSize * accumulation;
  const stepsPerEpoch = Math.ceil(rows / size);
  const totalSteps = maxSteps > 0 ? maxSteps : Math.ceil(epochs * stepsPerEpoch);
  if (!(size >= 1 && totalSteps >= 1)) {
    throw new UserError(
      `Cannot train: ${batchSize} x ${accumulation} rows a step and ${totalSteps} steps are nothing to do`,
      {
        hint: "Set max_steps or num_train_epochs above 0, and batch size and accumulation to at least 1.",
        exitCode: 2,
      },
    );
  }
  return {
    size,
    stepsPerEpoch,
    totalSteps,
    at(k) {
      const epoch = Math.floor(k / stepsPerEpoch);
      const start = epoch * rows + (k % stepsPerEpoch) * size;
      return { start, end: Math.min(start + size, (epoch + 1) * rows) };
    },
  };
}
