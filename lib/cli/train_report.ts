/** What a person reads of a training run: the decisions before it, and at its end losses, answers, files, next command. */
import { join } from "node:path";
import { countTokens } from "../data/examples.ts";
import { showCount } from "./load.ts";
import { showNotes } from "./rows.ts";
import { showBytes, sideBySide, terminalWidth } from "./terminal.ts";
import type { PreparedRun } from "./train_setup.ts";

/** Before the first step: what will happen, and why. */
export function showDecisions(run: PreparedRun): string {
  const { settings: s, model, rows, plan, totalSteps } = run;
  const trained = run.learner.parameters.reduce((sum, { value }) => sum + value.length, 0);
  const { tokens } = countTokens(rows.examples);
  const window = s.per_device_train_batch_size * s.gradient_accumulation_steps;
  const perStep = Math.min(window, rows.examples.length);
  const epochs = totalSteps * perStep / rows.examples.length;
  const passes = Math.ceil(perStep / plan.rowsPerPass);
  const chosen = run.chosenRate
    ? `, chosen for ${showCount(model.parameters)} parameters (2e-4 suits 7B and more)`
    : "";
  const extras = [s.use_rslora && "rsLoRA", s.use_dora && "DoRA"].filter(Boolean).map((word) => `, ${word}`).join("");
  const from = s.init_adapter === null ? "" : `, going on from ${s.init_adapter}`;
  const rate = s.learning_rate.toExponential().replace("e+0", "");
  return [
    `model     ${s.model}, ${showCount(model.parameters)} parameters, frozen in 4-bit NF4`,
    `adapter   r ${s.r}, alpha ${Number(s.lora_alpha.toPrecision(6))}, ${s.target_modules.length} modules${extras}: ` +
    `${showCount(trained)} trained${from}`,
    `data      ${rows.examples.length} rows of ${rows.files.name}, ${tokens} tokens, ` +
    (rows.style === null ? "packed" : `prompt style ${rows.style}`) +
    (rows.heldExamples.length > 0 ? `; ${rows.heldExamples.length} rows held out` : ""),
    ...rows.dataset.readAs.map((what) => `          read as ${what}`),
    ...showNotes(rows.notes, { where: "notes.txt" }).map((line) => `          ${line}`),
    `training  ${totalSteps} steps of ${perStep} rows (${epochs.toFixed(1)} epochs), ${s.optim}, ` +
    `${s.lr_scheduler_type}, ${s.warmup_steps} warm-up steps`,
    `          learning rate ${rate}${chosen}`,
    `engine    ${model.executor.description}; a step runs in ${passes === 1 ? "one pass" : `${passes} passes`}`,
    `memory    ${showBytes(plan.bytes)} expected at most; ${showKept(plan.keepLayers, model.source.config.layers)}`,
    `folder    ${run.folder}`,
  ].join("\n");
}

/** What gradient checkpointing comes to. */
function showKept(kept: number, layers: number): string {
  if (kept === layers) return "every layer keeps its values";
  return `${kept} of ${layers} layers keep their values, the others are computed again`;
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
