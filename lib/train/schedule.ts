/**
 * Learning rates over a run, exactly as Hugging Face's get_scheduler: k counts optimiser steps from 0, so that with a
 * warm-up the first step has learning rate 0, and the last one of a linear schedule is not yet 0.
 *
 * Source: transformers/optimization.py (get_linear_schedule_with_warmup and its siblings).
 */
export const schedules = ["constant", "constant_with_warmup", "linear", "cosine"] as const;
export type ScheduleName = typeof schedules[number];

export interface Schedule {
  type: ScheduleName;
  /** The peak. */
  learningRate: number;
  warmupSteps: number;
  totalSteps: number;
}

/** Learning rate of step k = 0, 1, ... */
export function learningRateAt(k: number, schedule: Schedule): number {
  return schedule.learningRate * factorAt(k, schedule);
}

function factorAt(k: number, { type, warmupSteps: w, totalSteps: T }: Schedule): number {
  if (type === "constant") return 1;
  if (k < w) return k / Math.max(1, w);
  if (type === "constant_with_warmup") return 1;
  if (type === "linear") return Math.max(0, (T - k) / Math.max(1, T - w));
  const progress = (k - w) / Math.max(1, T - w);
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}

/** Warm-up steps as the Trainer counts them: `warmupSteps` when above 0, otherwise a share of the run, rounded up. */
export function warmupStepsOf(
  totalSteps: number,
  options: { warmupSteps?: number; warmupRatio?: number },
): number {
  if (options.warmupSteps) return options.warmupSteps;
  return Math.ceil(totalSteps * (options.warmupRatio ?? 0));
}
