/**
 * `ftl train`: the whole way from rows to a tuned model, read from top to bottom. Settings, model, rows, weights, loss
 * before, training, files, loss after, answers of base and tuned model.
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { rowOrder } from "../data/order.ts";
import { writeAdapter } from "../export/peft.ts";
import { writeAtomic } from "../files/atomic.ts";
import { attachAdapter, initMagnitudes, loraScale, makeParameters } from "../model/adapter.ts";
import { kindOfPath, readText } from "../model/model_files.ts";
import type { Parameter } from "../model/trainable.ts";
import { makeTrainable } from "../model/trainable_model.ts";
import type { TrainEvent } from "../train/events.ts";
import { train } from "../train/loop.ts";
import { meanLoss } from "../train/window_gradient.ts";
import { planWindows } from "../train/windows.ts";
import { type CommandLine, readCommandLine } from "./command_line.ts";
import { exportModel } from "./export.ts";
import { type LoadedModel, loadOpenedModel, openNamedModel } from "./load.ts";
import { trainingProgress } from "./progress.ts";
import { answers, promptIds, questionOf } from "./prompts.ts";
import { renderSettings, resolveTrain, type TrainSettings } from "./resolve.ts";
import { prepareRows, type TrainingRows } from "./rows.ts";
import { makeRunFolder, reopenRunFolder, runFiles, runName } from "./run_folder.ts";
import { onInterrupt, StoppedError } from "./terminal.ts";
import { type ComparedAnswer, showAnswers, showDecisions, showFiles, showLosses } from "./train_report.ts";
import { fingerprintOf, learningRateFor, loopSettings, loraSettings, planPass } from "./train_setup.ts";

/** Rows whose loss is measured before and after: all of a small data set, the first of a large one. */
const measuredRows = 32;
/** Longest answer of the comparison at the end. */
const answerTokens = 80;

export async function command(args: string[]): Promise<number> {
  const line = readCommandLine({
    name: "train",
    summary:
      "Fine-tunes a model on your rows by QLoRA. Settings come from flags, a YAML file and a preset, in this order.",
    usage: "[config.yaml]",
    most: 1,
    examples: [
      ["ftl train", "the default model on the sample rows, as in the paper"],
      ["ftl train -d rows.jsonl -n 3", "your rows, three times through"],
      ["ftl train -m models/Qwen3-0.6B -d rows.jsonl --export q8_0", "a local model, with a GGUF at the end"],
      ["ftl train runs/smollm2-135m-1/config.yaml -l 1e-3", "an earlier run again, with another learning rate"],
      ["ftl train --resume runs/smollm2-135m-1", "go on where a run was stopped"],
    ],
  }, args);
  if ("help" in line) {
    console.log(line.help);
    return 0;
  }
  const { settings: wanted } = resolveTrain(sourcesOf(line));
  const folder = wanted.resume === null
    ? makeRunFolder({ outputDir: wanted.output_dir, name: runName(wanted.model) })
    : reopenRunFolder(wanted.resume);
  try {
    const opened = await openNamedModel(wanted.model);
    const learning_rate = wanted.learning_rate === "auto" ? learningRateFor(opened.parameters) : wanted.learning_rate;
    const rows = prepareRows(wanted, opened.tokenizer);
    const settings = { ...wanted, learning_rate, prompt_style: rows.style };
    const windows = windowsOf(settings, rows.examples.length);

    const model = loadOpenedModel(opened, { threads: settings.threads });
    const { executor, weights, source: { config } } = model;
    const lora = loraSettings(settings);
    const parameters = makeParameters(config, lora);
    const context = { executor, weights, config, settings: lora };
    await initMagnitudes(parameters, context);
    const longest = rows.examples.concat(rows.heldExamples).reduce(
      (most, { tokens }) => Math.max(most, tokens.length),
      1,
    );
    const plan = planPass(settings, { config, longest, memory: Deno.systemMemoryInfo().total });
    const trainable = makeTrainable({
      ...{ executor, config, weights, parameters, keepLayers: plan.keepLayers },
      loraScale: loraScale(lora),
      loraDropout: lora.lora_dropout,
    });

    const chosenRate = wanted.learning_rate === "auto";
    const trainedCount = parameters.reduce((sum, { value }) => sum + value.length, 0);
    const totalSteps = windows.totalSteps;
    const decided = {
      settings,
      chosenRate,
      model,
      rows,
      trainable: trainedCount,
      plan,
      totalSteps,
      folder: folder.path,
    };
    console.error(showDecisions(decided));
    if (settings.resume === null) writeSettings(folder.path, { settings, auto: chosenRate });
    writeNotes(folder.path, rows);

    const measured = rows.examples.slice(0, measuredRows);
    const { rowsPerPass } = plan;
    const before = await meanLoss(trainable, measured, { rowsPerPass });
    const order = rowOrder({ rows: rows.examples.length, seed: settings.seed, shuffle: settings.shuffle_dataset });
    const progress = trainingProgress({ steps: totalSteps });
    const interrupt = onInterrupt(() => progress.note("stopping after this step; press Ctrl-C again to quit at once"));
    const result = await train({
      model: trainable,
      rows: rows.examples.length,
      rowAt: (position) => rows.examples[order(position)],
      evalRows: rows.heldExamples,
      settings: loopSettings(settings),
      rowsPerPass,
      files: { checkpoints: join(folder.path, runFiles.checkpoints), log: join(folder.path, runFiles.log) },
      fingerprint: fingerprintOf(settings, { examples: rows.examples, model: model.source.fingerprint() }),
      resume: settings.resume !== null,
      signal: interrupt.signal,
      onEvent: (event) => follow(event, progress),
    }).finally(() => {
      progress.end();
      interrupt.release();
    });
    if (result.reason === "interrupted") {
      console.error(`stopped at step ${result.step}; go on with: ftl train --resume ${folder.path}`);
      throw new StoppedError();
    }

    const adapter = join(folder.path, runFiles.adapter);
    writeAdapter(adapter, { settings: lora, parameters, baseModel: settings.model });
    if (settings.export.length > 0) {
      const named = { adapter, style: rows.style, name: runName(settings.model) };
      exportModel(named, { ...model, formats: settings.export, folder: join(folder.path, "export") });
    }
    const after = await meanLoss(trainable, measured, { rowsPerPass });
    const compared = await compareAnswers(model, { rows, parameters, settings, context });
    await model.close();

    const held = result.evalBefore === undefined || result.evalAfter === undefined
      ? undefined
      : { before: result.evalBefore, after: result.evalAfter };
    if (compared.length > 0) console.log("\n" + showAnswers(compared));
    console.log("\n" + showLosses({ trained: { before, after, rows: measured.length }, held }));
    console.log("\n" + showFiles(folder.path));
    console.log(`\nnext: ftl run ${folder.path}       ask it yourself`);
    console.log(`      ftl export ${folder.path}    write it as GGUF for Ollama and llama.cpp`);
    return 0;
  } finally {
    folder.release();
  }
}

/** Flags, and the YAML file they stand over: the one named, or the one of the run to be resumed. */
function sourcesOf(line: CommandLine) {
  const { flags, problems, positional } = line;
  const resume = flags.resume as string | undefined;
  if (resume !== undefined && positional.length > 0) {
    throw new UserError("--resume takes its settings from the run folder; leave the file out", { exitCode: 2 });
  }
  const path = resume === undefined ? positional[0] : join(resume, runFiles.config);
  // What looks like a file may be the value of a flag that is reported as unknown.
  const readable = path !== undefined && (problems.length === 0 || kindOfPath(path) === "file");
  return { flags, problems, file: readable ? { text: readText(path), name: path } : undefined };
}

function windowsOf(settings: TrainSettings, rows: number) {
  return planWindows({
    rows,
    batchSize: settings.per_device_train_batch_size,
    accumulation: settings.gradient_accumulation_steps,
    maxSteps: settings.max_steps,
    epochs: settings.num_train_epochs,
  });
}

/** The resolved settings, to be run again as they are. An automatic folder stays automatic. */
function writeSettings(folder: string, { settings, auto }: { settings: TrainSettings; auto: boolean }): void {
  const text = renderSettings({ ...settings, resume: null }, {
    head: [
      "The settings of this run, all of them. Run it again as it is, or changed:",
      `  ftl train ${join(folder, runFiles.config)}`,
    ],
    notes: auto ? { learning_rate: "chosen by the model's size" } : {},
  });
  writeAtomic(join(folder, runFiles.config), new TextEncoder().encode(text));
}

/** What was changed in the data, line by line, where anything was. */
function writeNotes(folder: string, { notes }: TrainingRows): void {
  if (notes.length === 0) return;
  const lines = notes.map(({ source, line, what, action }) => `${source}:${line}: ${what}; ${action}\n`);
  writeAtomic(join(folder, "notes.txt"), new TextEncoder().encode(lines.join("")));
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
      return progress.note(`damaged, left out: ${event.path}: ${event.message}`);
    case "restore":
      return progress.note(`back to step ${event.step}, the best on held-out rows: ${event.loss.toFixed(4)}`);
    case "note":
      return progress.note(event.message);
    case "stop":
      if (event.reason === "early_stopping") progress.note(`stopped early at step ${event.step}`);
  }
}

/** The first questions of the held-out rows, else of the rows learnt, answered by base and tuned model. */
async function compareAnswers(
  model: LoadedModel,
  { rows, parameters, settings, context }: {
    rows: TrainingRows;
    parameters: Parameter[];
    settings: TrainSettings;
    context: Parameters<typeof attachAdapter>[1];
  },
): Promise<ComparedAnswer[]> {
  const { executor, weights, tokenizer, source: { config } } = model;
  const questions = (rows.held.length > 0 ? rows.held : rows.train).slice(0, settings.questions).map(questionOf);
  if (questions.length === 0) return [];
  const prompts = questions.map(({ messages }) => promptIds(messages, { tokenizer, style: rows.style }));
  const options = { tokenizer, maxNewTokens: answerTokens };
  const adapter = await attachAdapter(parameters, context);
  const base = await answers({ executor, config, weights }, prompts, options);
  const tuned = await answers({ executor, config, weights, adapter }, prompts, options);
  return questions.map(({ shown }, i) => ({ question: shown, base: base[i], tuned: tuned[i] }));
}
