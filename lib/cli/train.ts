/**
 * `ftl train`: the whole way from rows to a tuned model, read from top to bottom. Settings, model, rows, weights, loss
 * before, training, files, loss after, answers of base and tuned model.
 */
import { join } from "node:path";
import { listExamples } from "../data/examples.ts";
import { rowOrder } from "../data/order.ts";
import { UserError } from "../errors.ts";
import { writeAdapter } from "../export/peft.ts";
import { writeTextAtomic } from "../files/atomic.ts";
import { namedRevision, originalName } from "../hub/models.ts";
import { attachAdapter, initMagnitudes, makeParameters } from "../model/adapter.ts";
import { listCheckpoints } from "../train/checkpoint.ts";
import type { TrainEvent, TrainResult } from "../train/events.ts";
import { readLog } from "../train/log.ts";
import { train } from "../train/loop.ts";
import { lossCurveSvg, lossCurveText } from "../train/loss_curve.ts";
import { meanLoss } from "../train/window_gradient.ts";
import type { CommandLine, CommandShape } from "./command_line.ts";
import { chooseFiles } from "./data_files.ts";
import { chooseEngine } from "./engine.ts";
import { exportModel } from "./export.ts";
import { initialAdapter } from "./init_adapter.ts";
import { makeLearner } from "./learner.ts";
import { loadOpenedModel, openNamedModel } from "./load.ts";
import { machineMemory } from "./machine.ts";
import { trainingProgress } from "./progress.ts";
import { showProfile } from "./profile_report.ts";
import { answers, promptIds, questionOf } from "./prompts.ts";
import { isGiven, renderSettings, type Resolved, resolveTrain } from "./resolve.ts";
import { prepareRows, showNote } from "./rows.ts";
import { makeRunFolder, reopenRunFolder, runFiles, runName } from "./run_folder.ts";
import { sourcesOf } from "./train_sources.ts";
import { asTyped, onInterrupt, showBytes, StoppedError } from "./terminal.ts";
import { type ComparedAnswer, showAnswers, showDecisions, showFiles, showLosses } from "./train_report.ts";
import {
  evaluatedLengths,
  fingerprintOf,
  learningRateFor,
  loopSettings,
  loraSettings,
  measuredRows,
  planRun,
  type PreparedRun,
  warmupFor,
  windowsOf,
} from "./train_setup.ts";

/** Longest answer of the comparison at the end. */
const answerTokens = 80;

export const shape: CommandShape = {
  name: "train",
  summary:
    "Fine-tunes a model on your rows by QLoRA. Settings come from flags, a YAML file and a preset, in this order; the " +
    "defaults below hold where none of them says otherwise. The preset paper, which is taken unless another is named, " +
    "says 30 steps and a max_length of 2048; naming --num-train-epochs replaces the steps.",
  usage: "[config.yaml]",
  most: 1,
  takes: [{ kinds: ["file"] }],
  examples: [
    ["ftl train", "the default model on the sample rows, as in the paper"],
    ["ftl train -d rows.jsonl -n 3", "your rows, three times through"],
    ["ftl train -d book.xlsx --columns instruction=Q,output=A", "a table whose columns have other names"],
    ["ftl train -m models/Qwen3-0.6B -d rows.jsonl --export q8_0", "a local model, with a GGUF at the end"],
    ["ftl train runs/smollm2-135m-1/config.yaml -l 1e-3", "an earlier run again, with another learning rate"],
    ["ftl train -d more.jsonl --init-adapter runs/smollm2-135m-1", "teach a tuned model more, in a new run"],
    ["ftl train --resume runs/smollm2-135m-1", "go on where a run was stopped"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const resolved = resolveTrain(sourcesOf(line));
  const { settings } = resolved;
  const folder = settings.resume === null
    ? makeRunFolder({ outputDir: settings.output_dir, name: runName(settings.model) })
    : reopenRunFolder(settings.resume);
  try {
    const run = await prepare(resolved, folder.path);
    console.error(showDecisions(run));
    writeSettings(run);
    writeNotes(run);
    const before = await trainedLoss(run);
    run.model.profile?.reset();
    const result = await trainSteps(run);
    const profile = await profileText(run);
    const after = await trainedLoss(run);
    run.model.executor.trim();
    await writeResults(run, result);
    await report(run, { result, before, after, profile });
    await run.model.close();
  } finally {
    folder.release();
  }
  return 0;
}

/** Model, rows and adapter, ready for the first step, with everything that was decided on the way. */
async function prepare(resolved: Resolved, folder: string): Promise<PreparedRun> {
  const { init_adapter: named } = resolved.settings, { sources } = resolved;
  const files = await chooseFiles(resolved.settings);
  const engine = await chooseEngine(resolved.settings.engine);
  const opened = await openNamedModel(resolved.settings.model);
  // A run with checkpoints has the values in them, and the adapter's settings in its config.yaml.
  const begins = listCheckpoints(join(folder, runFiles.checkpoints)).length === 0;
  const start = named !== null && begins ? initialAdapter(resolved, { named, source: opened.source }) : undefined;
  const wanted = start?.settings ?? resolved.settings;
  const rows = await prepareRows(wanted, files, opened.tokenizer);
  const chosenRate = wanted.learning_rate === "auto";
  const learning_rate = wanted.learning_rate === "auto" ? learningRateFor(opened.parameters) : wanted.learning_rate;
  const windows = windowsOf(wanted, rows.examples.length);
  const { warmup_steps: wantedWarmup } = wanted, given = isGiven(sources.warmup_steps);
  const warmup_steps = warmupFor(windows.totalSteps, { wanted: wantedWarmup, given });
  const settings = { ...wanted, learning_rate, warmup_steps, prompt_style: rows.style ?? "auto" as const };

  const { config } = opened.source, lora = loraSettings(settings);
  const parameters = start?.parameters ?? makeParameters(config, lora);
  const order = rowOrder({ rows: rows.examples.length, seed: settings.seed, shuffle: settings.shuffle_dataset });
  const rowAt = (position: number) => rows.examples.at(order(position));
  const plan = await planRun(settings, {
    ...{ engine, source: opened.source },
    machine: machineMemory().total,
    positions: windows.totalSteps * windows.size,
    lengthAt: (position) => rows.examples.lengthAt(order(position)),
    evaluated: evaluatedLengths(rows),
  });
  const { threads, profile } = settings;
  const model = await loadOpenedModel(opened, { engine, threads, profile, purpose: "training" });
  const { executor, weights } = model;
  if (!start) await initMagnitudes(parameters, { executor, weights, config, settings: lora });
  const learner = await makeLearner(model, { parameters, lora, plan, settings: loopSettings(settings) });
  return { folder, settings, chosenRate, model, rows, rowAt, lora, learner, plan, totalSteps: windows.totalSteps };
}

/** Mean loss on the rows learnt. */
function trainedLoss({ learner, rows, plan }: PreparedRun): Promise<number> {
  return meanLoss(learner, listExamples(rows.examples, measuredRows), { rowsPerPass: plan.rowsPerPass });
}

/**
 * The loop, with progress and Ctrl-C. Throws StoppedError when it was stopped, with a checkpoint on the disk, and
 * UserError when that could not be written.
 */
async function trainSteps(run: PreparedRun): Promise<TrainResult> {
  const { folder, settings, model, rows, rowAt, learner, plan } = run;
  const { webgpu } = model, memory = webgpu && (() => `${showBytes(webgpu.buffers.peak())} GPU memory`);
  const progress = trainingProgress({ steps: run.totalSteps, memory });
  const interrupt = onInterrupt(() => progress.note("stopping after this step; press Ctrl-C again to quit at once"));
  const result = await train({
    learner,
    rows: rows.examples.length,
    rowAt,
    evalRows: listExamples(rows.heldExamples),
    settings: loopSettings(settings),
    rowsPerPass: plan.rowsPerPass,
    files: { checkpoints: join(folder, runFiles.checkpoints), log: join(folder, runFiles.log) },
    fingerprint: fingerprintOf(settings, { examples: rows.examples, model: model.source.fingerprint() }),
    resume: settings.resume !== null,
    signal: interrupt.signal,
    onEvent: (event) => follow(event, progress),
  }).finally(() => {
    progress.end();
    interrupt.release();
  });
  if (result.reason !== "interrupted") return result;
  if (result.unsaved) {
    throw new UserError(`Stopped at step ${result.step}, which could not be saved: ${result.unsaved}`, {
      hint: howToGoOn(folder, result),
    });
  }
  console.error(asTyped(`stopped at step ${result.step}; go on with: ftl train --resume ${folder}`));
  throw new StoppedError();
}

/** What --profile asks for. */
async function profileText({ settings, model, plan }: PreparedRun): Promise<string> {
  if (!settings.profile) return "";
  const { profile, webgpu } = model;
  if (profile && webgpu) {
    const memory = { planned: plan.bytes, peak: webgpu.buffers.peak() };
    return showProfile(await profile.result(), { memory, ceilings: await profile.ceilings() });
  }
  return `no profile: ${model.executor.description} takes no times of kernels`;
}

/** After something could not be written: what of the training is on the disk, and what of it will be done again. */
function howToGoOn(folder: string, { step, saved }: TrainResult): string {
  const kept = saved === step
    ? "every step is in its checkpoint"
    : saved < 0
    ? "it begins at step 0, no checkpoint is on the disk"
    : `it goes on from step ${saved}, later ones are computed again`;
  return `When the disk takes it: ftl train --resume ${folder} (${kept})`;
}

/** Adapter, loss curve, and what was asked to be exported. A UserError says how to go on. */
async function writeResults(
  { folder, settings, model, rows, lora, learner }: PreparedRun,
  result: TrainResult,
): Promise<void> {
  const adapter = join(folder, runFiles.adapter), log = join(folder, runFiles.log), formats = settings.export;
  const base = { baseModel: originalName(settings.model), revision: namedRevision(settings.model) };
  try {
    writeAdapter(adapter, { settings: lora, parameters: learner.parameters, ...base });
    writeTextAtomic(join(folder, runFiles.curve), await lossCurveSvg(readLog(log), { title: folder }));
  } catch (error) {
    throw withHint(error, () => howToGoOn(folder, result));
  }
  if (formats.length === 0) return;
  const named = { adapter, style: rows.style, name: runName(settings.model) };
  const again = `The adapter is in ${adapter}; then: ftl export ${folder} --to ${formats.join(",")}`;
  try {
    exportModel(named, { ...model, formats, folder: join(folder, "export") });
  } catch (error) {
    throw withHint(error, (hint = "") => `${hint} ${again}`.trim());
  }
}

function withHint(error: unknown, change: (hint?: string) => string): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(error.message, { hint: change(error.hint), exitCode: error.exitCode, cause: error });
}

/** What a person sees at the end: the curve, answers side by side, losses, files, what to type next. */
async function report(
  run: PreparedRun,
  { result, before, after, profile }: { result: TrainResult; before: number; after: number; profile: string },
): Promise<void> {
  const { folder, rows } = run;
  const { evalBefore, evalAfter } = result;
  const held = evalBefore !== undefined && evalAfter !== undefined && { before: evalBefore, after: evalAfter };
  const trained = { before, after, rows: Math.min(measuredRows, rows.examples.length) };
  const parts = [
    lossCurveText(readLog(join(folder, runFiles.log))),
    showAnswers(await compareAnswers(run)),
    showLosses({ trained, held: held || undefined }),
    profile,
    showFiles(folder),
    asTyped(`next, ask it yourself:  ftl run ${folder}\nGGUF for Ollama:        ftl export ${folder}`),
  ];
  console.log(parts.filter((part) => part !== "").map((part) => `\n${part}`).join("\n"));
}

/** The resolved settings, to be run again as they are. An automatic folder stays automatic. */
function writeSettings({ folder, settings, chosenRate }: PreparedRun): void {
  if (settings.resume !== null) return;
  const path = join(folder, runFiles.config);
  writeTextAtomic(
    path,
    renderSettings(settings, {
      head: ["The settings of this run, all of them. Run it again as it is, or changed:", `  ftl train ${path}`],
      notes: chosenRate ? { learning_rate: "chosen by the model's size" } : {},
    }),
  );
}

/** What was changed in the data, line by line, where anything was. */
function writeNotes({ folder, rows: { notes } }: PreparedRun): void {
  if (notes.length === 0) return;
  writeTextAtomic(join(folder, "notes.txt"), notes.map((note) => showNote(note) + "\n").join(""));
}

function follow(event: TrainEvent, progress: ReturnType<typeof trainingProgress>): void {
  switch (event.type) {
    case "step":
      return progress.step(event);
    case "start":
      if (event.resumedFrom) progress.note(`resumed at step ${event.step} from ${event.resumedFrom}`);
      return;
    case "eval":
      return progress.note(`step ${event.step}: loss on held-out rows ${event.loss.toFixed(4)}`);
    case "damaged_checkpoint":
      if (!event.lost) return progress.note(`damaged, left out: ${event.message}`);
      return progress.note(
        `lost: ${event.message}; steps ${event.lost.from + 1} to ${event.lost.to} are computed again`,
      );
    case "unsaved":
      return progress.note(
        `step ${event.step} is not saved: ${event.message}; the run goes on, ` +
          (event.saved < 0 ? "without a checkpoint so far" : `the checkpoint of step ${event.saved} is whole`),
      );
    case "restore":
      return progress.note(`back to step ${event.step}, the best on held-out rows: ${event.loss.toFixed(4)}`);
    case "note":
      return progress.note(event.message);
    case "stop":
      if (event.reason === "early_stopping") progress.note(`stopped early at step ${event.step}`);
  }
}

/** The first questions of the held-out rows, else of the rows learnt, answered by base and tuned model. */
async function compareAnswers({ model, rows, lora, learner, settings }: PreparedRun): Promise<ComparedAnswer[]> {
  const { executor, weights, tokenizer, source: { config } } = model;
  const questions = rows.questions.slice(0, settings.questions).map(questionOf);
  if (questions.length === 0) return [];
  const prompts = questions.map(({ messages }) => promptIds(messages, { tokenizer, style: rows.style }));
  const options = { tokenizer, maxNewTokens: answerTokens };
  const adapter = await attachAdapter(learner.parameters, { executor, weights, config, settings: lora });
  const base = await answers({ executor, config, weights }, prompts, options);
  const tuned = await answers({ executor, config, weights, adapter }, prompts, options);
  return questions.map(({ shown }, i) => ({ question: shown, base: base[i], tuned: tuned[i] }));
}
