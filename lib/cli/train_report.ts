/** What a person reads of a training run: the decisions before it, and at its end losses, answers, files, next command. */
import { join } from "node:path";
import type { LoadedModel } from "./load.ts";
import { showCount } from "./load.ts";
import type { TrainSettings } from "./resolve.ts";
import { showNotes, type TrainingRows } from "./rows.ts";
import { showBytes, sideBySide, terminalWidth } from "./terminal.ts";
import type { PassPlan } from "./train_setup.ts";

export interface Decisions {
  settings: TrainSettings & { learning_rate: number };
  /** Whether the learning rate was chosen by the model's size. */
  chosenRate: boolean;
  model: Pick<LoadedModel, "source" | "parameters" | "executor">;
  rows: TrainingRows;
  trainable: number;
  plan: PassPlan;
  totalSteps: number;
  folder: string;
}

/** Before the first step: what will happen, and why. */
export function showDecisions(d: Decisions): string {
  const { settings: s, model, rows, plan } = d;
  const tokens = rows.examples.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const perStep = s.per_device_train_batch_size * s.gradient_accumulation_steps;
  const epochs = d.totalSteps * Math.min(perStep, rows.examples.length) / rows.examples.length;
  const passes = Math.ceil(perStep / plan.rowsPerPass);
  const chosen = d.chosenRate ? `, chosen for ${showCount(model.parameters)} parameters (2e-4 suits 7B and more)` : "";
  const extras = [s.use_rslora && "rsLoRA", s.use_dora && "DoRA"].filter(Boolean).map((word) => `, ${word}`).join("");
  const rate = s.learning_rate.toExponential().replace("e+0", "");
  return [
    `model     ${model.source.config.name}, ${showCount(model.parameters)} parameters, frozen in 4-bit NF4`,
    `adapter   r ${s.r}, alpha ${s.lora_alpha}, ${s.target_modules.length} modules${extras}: ` +
    `${showCount(d.trainable)} trained`,
    `data      ${rows.examples.length} rows of ${s.data}, ${tokens} tokens, prompt style ${rows.style}` +
    (rows.heldExamples.length > 0 ? `; ${rows.heldExamples.length} rows held out` : ""),
    ...showNotes(rows.notes).map((line) => `          ${line}`),
    `training  ${d.totalSteps} steps of ${perStep} rows (${epochs.toFixed(1)} epochs), ${s.optim}, ` +
    `${s.lr_scheduler_type}, ${s.warmup_steps} warm-up steps`,
    `          learning rate ${rate}${chosen}`,
    `engine    ${model.executor.description}; a step runs in ${passes === 1 ? "one pass" : `${passes} passes`}`,
    `folder    ${d.folder}`,
  ].join("\n");
}

export interface Losses {
  /** Mean loss of the rows learnt, or of the first ones of many. */
  trained: { before: number; after: number; rows: number };
  held?: { before: number; after: number };
}

export function showLosses({ trained, held }: Losses): string {
  const line = (what: string, { before, after }: { before: number; after: number }) =>
    `${what.padEnd(26)} ${before.toFixed(4)} -> ${after.toFixed(4)}`;
  return [
    line(`loss on ${trained.rows} trained rows`, trained),
    ...(held ? [line("loss on held-out rows", held)] : []),
  ].join("\n");
}

export interface ComparedAnswer {
  question: string;
  base: string;
  tuned: string;
}

/** Questions with the answers of both models beside each other, wrapped to the terminal. */
export function showAnswers(answers: ComparedAnswer[]): string {
  const width = terminalWidth();
  return answers.map(({ question, base, tuned }) =>
    `${question}\n${sideBySide({ title: "base", text: base }, { title: "tuned", text: tuned }, { width })}`
  ).join("\n\n");
}

/** Every file of the run with its size; folders of checkpoints as one line. */
export function showFiles(folder: string): string {
  const lines: string[] = [];
  for (const entry of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    const bytes = entry.isDirectory ? folderBytes(path) : Deno.statSync(path).size;
    lines.push(`  ${(path + (entry.isDirectory ? "/" : "")).padEnd(44)} ${showBytes(bytes).padStart(9)}`);
  }
  return lines.join("\n");
}

function folderBytes(folder: string): number {
  return [...Deno.readDirSync(folder)].reduce((sum, entry) => {
    const path = join(folder, entry.name);
    return sum + (entry.isDirectory ? folderBytes(path) : Deno.statSync(path).size);
  }, 0);
}
