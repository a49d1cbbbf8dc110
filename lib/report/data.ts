/** What a report is made of, whatever it is of: one run, an experiment, a comparison. Plain data, read by lib/cli. */
import type { ModelGroup } from "../eval/comparison.ts";
import type { SetRole } from "../eval/questions.ts";
import type { Scores, Variant } from "../eval/results.ts";
import type { Spread } from "../eval/experiment.ts";
import type { LogLine } from "../train/log.ts";

export interface ReportData {
  /** "sizes", "runs/smollm2-135m-1" */
  title: string;
  /** What it is of, one sentence. */
  about: string;
  /** "ftl 0.1.0" */
  version: string;
  /** ISO 8601. */
  created: string;
  groups: ReportGroup[];
  /** Base models and what made the numbers; null where nothing says so. */
  setting: { model: string; parameters: number | null; engine: string; promptStyle: string } | null;
  /** How it was trained, in the paper's terms: "30 steps, LoRA r 16, ..."; null where nothing was. */
  training: string | null;
  answers: ReportQuestion[];
  /** Models that were asked the same questions one at a time; null where none were. */
  compared: ReportComparison | null;
  costs: ReportCost[];
  /** What was not finished or failed, a line each. */
  gaps: string[];
  /** Names and texts of files that a reader repeats it with. */
  files: { name: string; text: string }[];
  /** Commands that repeat it. */
  commands: string[];
}

export interface ReportComparison {
  sets: { name: string; role: SetRole; rows: number }[];
  /** Of each the scores of every set, speed, cost and size. */
  models: ModelGroup[];
}

/** Models that are the same but for their seed; of a comparison, one model. */
export interface ReportGroup {
  label: string;
  /** Rows trained; null where nothing was. */
  rows: number | null;
  /** A log for each seed. */
  logs: LogLine[][];
  finalLoss: Spread | null;
  sets: { name: string; role: SetRole; scores: Partial<Record<Variant | "change", Scores>> }[];
}

export interface ReportQuestion {
  role: SetRole;
  question: string;
  reference: string;
  /** Who said what: "base", "tuned", a group's label. */
  answers: { who: string; text: string; cut: boolean }[];
}

/** Of one training and its measuring; null: not measured. */
export interface ReportCost {
  name: string;
  trainSeconds: number | null;
  /** Of trainSeconds: the optimiser steps themselves. */
  stepSeconds: number | null;
  evalSeconds: number | null;
  tokensPerSecond: number | null;
  memoryBytes: number | null;
  /** Of the processors and of the graphics cards. */
  energyJoules: number | null;
  cardEnergyJoules: number | null;
}
