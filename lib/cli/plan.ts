/**
 * `ftl plan`: what a training run will take, before anything is loaded. Headers of the model, the rows' tokens where
 * there are any, and a second of products on this machine; the memory plan is the one that training itself makes.
 */
import { UserError } from "../errors.ts";
import { rowOrder } from "../data/order.ts";
import type { MemoryPlan } from "../model/plan.ts";
import { stepSeconds, type StepSize } from "../model/step_time.ts";
import { absentEngine, cardNamed } from "./cards.ts";
import type { CommandLine, CommandShape } from "./command_line.ts";
import { chooseFiles, type ChosenFiles } from "./data_files.ts";
import { diskOf } from "./plan_disk.ts";
import { chooseEngine, type ChosenEngine } from "./engine.ts";
import { type OpenedModel, openNamedModel } from "./load.ts";
import { gpuBudget } from "./gpu_memory.ts";
import { machineMemory } from "./machine.ts";
import { cpuSpeed, type FoundSpeed, gpuSpeed } from "./measure_speed.ts";
import type { Settings } from "./options.ts";
import { alternatives } from "./plan_alternatives.ts";
import { type RunPlan, showPlan } from "./plan_report.ts";
import { isGiven, type Resolved, resolveTrain } from "./resolve.ts";
import { prepareRows } from "./rows.ts";
import { evaluatedLengths, planRun, trainedNumbers, windowsOf } from "./train_setup.ts";
import { sourcesOf } from "./train_sources.ts";

type PlanFlags = Pick<Settings<"plan">, "card" | "measure" | "json">;

export const shape: CommandShape = {
  name: "plan",
  summary: "Says what a training run will take, memory, time and disk, before anything is loaded. " +
    "Takes every setting of ftl train; without data every row counts as max_length tokens.",
  usage: "[model|config.yaml]",
  most: 1,
  takes: [{ kinds: ["model"] }],
  examples: [
    ["ftl plan models/Llama-3.1-8B", "whether it fits here, and how long a step takes"],
    ["ftl plan models/Qwen3-0.6B -d rows.jsonl -n 3", "the run over your rows"],
    ["ftl plan models/Llama-3.1-8B --card rtx-4090", "would a 4090 do?"],
    ["ftl plan models/Llama-3.1-8B --engine dawn --max-memory 24GiB", "any card with so much memory"],
    ["ftl plan runs/smollm2-135m-1/config.yaml", "an earlier run again"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  const [what] = line.positional, { card = "none", measure = true, json = false, ...flags } = line.flags;
  const isModel = what !== undefined && !/\.ya?ml$/i.test(what);
  const sources = sourcesOf({
    ...line,
    positional: isModel ? [] : line.positional,
    flags: isModel ? { ...flags, model: flags.model ?? what } : flags,
  });
  const resolved = resolveTrain({ ...sources, command: "plan" });
  const plan = await makePlan(resolved, { card, measure, json } as PlanFlags);
  console.log(json ? JSON.stringify(plan, null, 2) : showPlan(plan));
  return plan.fits ? 0 : 1;
}

/** The rows of a run as far as memory and time depend on them. */
export interface PlannedRows {
  /** Where the lengths come from. */
  from: string;
  rows?: number;
  /** Optimiser steps; undefined where only the number of rows would say. */
  steps?: number;
  rowsPerStep: number;
  positions: number;
  lengthAt: (position: number) => number;
  evaluated: number[][];
  /** An average step, as one pass. */
  step: StepSize;
}

async function makePlan({ settings, sources }: Resolved, flags: PlanFlags): Promise<RunPlan> {
  const engine = await plannedEngine(settings, flags.card);
  if (flags.card !== "none" && settings.max_memory === "auto") {
    settings = { ...settings, max_memory: 0.9 * cardNamed(flags.card).memory };
  }
  const files = isGiven(sources.data) ? await chooseFiles(settings) : undefined;
  const model = await openNamedModel(settings.model), { source } = model, { config } = source;
  const rowsFor = (settings: Resolved["settings"]) => plannedRows(settings, { model, files });
  const rows = await rowsFor(settings), trained = trainedNumbers(config, settings);
  const found = await speedOf(engine, { model, rows, settings, flags });
  const machine = machineMemory();

  const planOf = (settings: Resolved["settings"], rows: PlannedRows) =>
    planRun(settings, { engine, source, machine: machine.total, ...rows });
  const secondsOf = (plan: MemoryPlan, settings: Resolved["settings"], rows: PlannedRows) => {
    if (!found) return undefined;
    const passes = Math.ceil(rows.rowsPerStep / plan.rowsPerPass), { speed } = found;
    return stepSeconds({
      config,
      plan,
      speed,
      trained: trainedNumbers(config, settings),
      step: { ...rows.step, passes },
    });
  };

  let plan: MemoryPlan | undefined, problem: string | undefined;
  try {
    plan = await planOf(settings, rows);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    problem = error.message;
  }
  const seconds = plan && secondsOf(plan, settings, rows);
  const result: RunPlan = {
    fits: plan !== undefined,
    problem,
    model: { name: settings.model, parameters: model.parameters, layers: config.layers },
    adapter: { r: settings.r, modules: settings.target_modules.length, trained },
    engine: {
      kind: engine.kind,
      name: engine.kind === "onnx" ? "ONNX Runtime" : engine.about.name,
      reason: engine.reason,
    },
    memory: plan &&
      { bytes: plan.bytes, parts: plan.parts, available: engine.kind === "onnx" ? machine.available : undefined },
    passes: plan && {
      rows: Math.min(plan.rowsPerPass, rows.rowsPerStep),
      each: Math.ceil(rows.rowsPerStep / plan.rowsPerPass),
      keepLayers: plan.keepLayers,
      headChunk: plan.headChunk,
    },
    step: { rows: rows.rowsPerStep, tokens: Math.round(rows.step.tokens), from: rows.from, seconds },
    run: {
      steps: rows.steps,
      rows: rows.rows,
      seconds: seconds !== undefined && rows.steps !== undefined ? rows.steps * seconds : undefined,
    },
    speed: found?.from,
    disk: diskOf(model, { settings, trained }),
    alternatives: await alternatives(settings, {
      ...{ plan, rows, rowsFor, planOf, secondsOf },
      most: engine.kind === "onnx" ? 0.9 * machine.total / 2 ** 30 : await cardGiB(engine, flags),
    }),
  };
  source.close();
  return result;
}

/** Most of a card's memory that training may use: what the table says, or what is free there. */
async function cardGiB(engine: Exclude<ChosenEngine, { kind: "onnx" }>, { card }: PlanFlags): Promise<number> {
  if (card !== "none") return 0.9 * cardNamed(card).memory;
  return (await gpuBudget(engine.about, { wanted: "auto" })).bytes / 2 ** 30;
}

/** The engine of the run; one that was asked for need not be here, where its card or its memory are told. */
async function plannedEngine(settings: Resolved["settings"], card: PlanFlags["card"]): Promise<ChosenEngine> {
  const { engine: wanted } = settings;
  if (card !== "none") return absentEngine(wanted === "webgpu" ? "webgpu" : "dawn", cardNamed(card).name);
  if (wanted !== "dawn" && wanted !== "webgpu") return await chooseEngine(wanted);
  const found = await chooseEngine(wanted).catch(() => undefined);
  // A driver in software stands for no card.
  if (found && found.kind !== "onnx" && !found.about.software) return found;
  if (settings.max_memory !== "auto") return absentEngine(wanted, "a card that is not here");
  throw new UserError("Cannot plan for a graphics card that is not here without its memory", {
    hint: "add --card rtx-4090 or the like, or --max-memory 24GiB",
  });
}

async function speedOf(
  engine: ChosenEngine,
  { model, rows, settings, flags }: {
    model: OpenedModel;
    rows: PlannedRows;
    settings: Resolved["settings"];
    flags: PlanFlags;
  },
): Promise<FoundSpeed | undefined> {
  const { config } = model.source;
  if (engine.kind !== "onnx") {
    const isHere = flags.card === "none" && engine.about.driver !== "";
    return await gpuSpeed(engine, { layers: config.layers, measure: flags.measure && isHere });
  }
  return flags.measure ? await cpuSpeed(config, { tokens: rows.step.tokens, threads: settings.threads }) : undefined;
}

/** The rows of the data where a person named some, else a step of rows of max_length tokens. */
async function plannedRows(
  settings: Resolved["settings"],
  { model, files }: { model: OpenedModel; files?: ChosenFiles },
): Promise<PlannedRows> {
  const window = settings.per_device_train_batch_size * settings.gradient_accumulation_steps;
  if (!files) {
    const length = settings.max_length, tokens = window * length;
    return {
      from: `no data named, so each row counts as max_length, ${length}`,
      steps: settings.max_steps > 0 ? settings.max_steps : undefined,
      ...{ rowsPerStep: window, positions: window, lengthAt: () => length, evaluated: [] },
      step: { tokens, targets: tokens - window, squares: window * length ** 2, passes: 1 },
    };
  }
  const found = await prepareRows(settings, files, model.tokenizer), { examples } = found;
  const windows = windowsOf(settings, examples.length);
  const order = rowOrder({ rows: examples.length, seed: settings.seed, shuffle: settings.shuffle_dataset });
  const rowsPerStep = Math.min(windows.size, examples.length), share = rowsPerStep / examples.length;
  const step = { tokens: 0, targets: 0, squares: 0, passes: 1 };
  for (let row = 0; row < examples.length; row++) {
    const { tokens, targets } = examples.at(row);
    step.tokens += share * tokens.length;
    step.targets += share * targets.reduce((count, target) => count + target, 0);
    step.squares += share * tokens.length ** 2;
  }
  return {
    from: files.data.name,
    rows: examples.length,
    steps: windows.totalSteps,
    rowsPerStep,
    positions: windows.totalSteps * windows.size,
    lengthAt: (position) => examples.lengthAt(order(position)),
    evaluated: evaluatedLengths(found),
    step,
  };
}
