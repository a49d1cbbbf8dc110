/** Reads what a report is of: the folder of an experiment or a comparison, or that of one run. */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { type CompareResults, groupModels, type ModelGroup } from "../eval/comparison.ts";
import type { CellResult, ExperimentResults } from "../eval/experiment.ts";
import { spreadOf } from "../eval/experiment.ts";
import type { EvalResults, RowAnswer } from "../eval/results.ts";
import { kindOfPath, readText } from "../model/model_files.ts";
import type { ReportComparison, ReportCost, ReportData, ReportGroup, ReportQuestion } from "../report/data.ts";
import { type LogLine, peakMemory } from "../train/log.ts";
import { cellFiles, readEvaluation } from "./experiment_cell.ts";
import { comparedGroups, readComparison } from "./experiment_compare.ts";
import { version } from "./overview.ts";
import { readEvalFile, readResultsFile } from "./result_files.ts";
import { isRunFolder, runFiles, runLog } from "./run_folder.ts";
import { readRunSettings } from "./saved_run.ts";
import { asTyped } from "./terminal.ts";

/** Errors: UserError when the folder is neither. */
export function readReport(folder: string): ReportData {
  const results = join(folder, "results.json");
  if (kindOfPath(results) === "file") {
    const found = readResultsFile(results);
    return found.format === "ftl-experiment/1" ? ofExperiment(folder, found) : ofComparison(folder, found);
  }
  if (isRunFolder(folder)) return ofRun(folder);
  throw new UserError(`Nothing to report on in ${folder}: neither results.json nor ${runFiles.config} is there`, {
    hint: "Name the folder of a run, of an experiment or of a comparison.",
  });
}

const head = () => ({ version, created: new Date().toISOString() });

function ofExperiment(folder: string, results: ExperimentResults): ReportData {
  const { name, groups, cells, settings } = results;
  const logOf = (cell: string) => runLog(join(folder, cell, cellFiles.run));
  const evaluations = new Map(cells.flatMap(({ name, status }) => {
    const found = status === "done" ? readEvaluation(join(folder, name)) : null;
    return found ? [[name, found] as const] : [];
  }));
  const shown = groups.flatMap(({ label, cells }) => {
    const evaluation = cells.map((cell) => evaluations.get(cell)).find((found) => found !== undefined);
    return evaluation ? [{ label, evaluation }] : [];
  });
  const example = groups.flatMap(({ cells }) => cells)[0];
  const comparison = readComparison(folder);
  return {
    ...head(),
    title: `Experiment ${name}`,
    about: `${cells.length} trainings, ${groups.length} ${groups.length === 1 ? "setting" : "settings"}, ` +
      "each model measured beside the one it was made of. Answers shown are those of the first seed.",
    groups: groups.map(({ label, rows, cells, final_loss, sets }) => ({
      ...{ label, rows, sets, finalLoss: final_loss },
      logs: cells.map(logOf).filter((lines) => lines.length > 0),
    })),
    setting: settingOf([...evaluations.values()][0]),
    training: example === undefined ? null : trainingOf(join(folder, example, cellFiles.run)),
    answers: joinAnswers(shown),
    compared: comparison && comparedOf(comparison, comparedGroups(comparison, results)),
    costs: cells.filter(({ status }) => status === "done").map((cell) => costOf(cell, logOf(cell.name))),
    gaps: [
      ...gapsOf(cells),
      ...settings.compare !== undefined && !comparison?.complete
        ? ["the comparison is not complete; the same ftl experiment makes it"]
        : [],
    ],
    files: [
      { name: "the experiment", text: yamlOf(settings) },
      ...example === undefined ? [] : configsIn(join(folder, example, cellFiles.run)),
    ],
    commands: [
      asTyped("ftl experiment experiment.yaml    (the lines below in a file)"),
      ...example === undefined
        ? []
        : [asTyped(`ftl train ${join(folder, example, cellFiles.settings)}    (one cell of it)`)],
    ],
  };
}

function gapsOf(cells: CellResult[]): string[] {
  const unfinished = cells.filter(({ status }) => status === "unfinished");
  return [
    ...cells.filter(({ status }) => status === "failed").map(({ name, error }) => `${name} failed: ${error}`),
    ...unfinished.length === 0 ? [] : [`not finished: ${unfinished.map(({ name }) => name).join(", ")}`],
  ];
}

function ofRun(folder: string): ReportData {
  const lines = runLog(folder), path = join(folder, cellFiles.evaluation);
  const found = kindOfPath(path) === "file" ? readEvalFile(path) : null;
  const finalLoss = spreadOf(lines.slice(-1).map(({ loss }) => loss));
  const label = folder.replace(/[\\/]+$/, "").split(/[\\/]/).at(-1)!;
  const rows = found?.settings.limit === 0 ? found.sets.find(({ role }) => role === "trained")?.rows.length : undefined;
  const measure = asTyped(`ftl eval ${folder} --output-file ${path}    (then the report again)`);
  return {
    ...head(),
    title: `Run ${folder}`,
    about: found
      ? "One training, and the tuned model measured beside the one it was made of."
      : "One training; its answers were not measured.",
    groups: [{ label, rows: rows ?? null, logs: lines.length > 0 ? [lines] : [], finalLoss, sets: found?.sets ?? [] }],
    setting: settingOf(found ?? undefined),
    training: trainingOf(folder),
    answers: found ? joinAnswers([{ label: "tuned", evaluation: found }]) : [],
    compared: null,
    costs: [costOf({ ...noCosts, name: label }, lines)],
    gaps: [
      ...found && !found.complete ? [`${path} is of an evaluation that was stopped`] : [],
      ...kindOfPath(join(folder, runFiles.adapter)) === "folder" ? [] : ["the run has no trained adapter yet"],
    ],
    files: configsIn(folder),
    commands: [asTyped(`ftl train ${join(folder, runFiles.config)}`), measure],
  };
}

const noCosts = { train_seconds: null, eval_seconds: null, energy_joules: null, card_energy_joules: null };

function ofComparison(folder: string, results: CompareResults): ReportData {
  const { models, sets, complete, settings: { seed } } = results;
  const compared = groupModels(results, models.map(({ name }) => ({ label: name, names: [name] })), { seed });
  const groups: ReportGroup[] = models.map(({ name, scores }) => ({
    ...{ label: name, rows: null, logs: [], finalLoss: null },
    sets: sets.map(({ name, role }, s) => ({ name, role, scores: { base: scores[s] } })),
  }));
  const answers = sets.flatMap(({ role, rows }, s) =>
    rows.map(({ question, reference }, r): ReportQuestion => ({
      ...{ role, question, reference },
      answers: models.flatMap(({ name, answers }) => {
        const found = answers.find(({ set, row }) => set === s && row === r);
        if (found === undefined) return [];
        return [{ who: name, text: found.text ?? `(${found.error})`, cut: found.finish === "length" }];
      }),
    }))
  );
  return {
    ...head(),
    title: `Comparison ${folder}`,
    about: `${models.length} models, asked the same questions.`,
    ...{ groups, answers, setting: null, training: null, costs: [], files: [] },
    compared: comparedOf(results, compared),
    gaps: complete ? [] : ["some answers are missing"],
    commands: [
      asTyped([
        "ftl compare",
        ...models.map(({ name, kind }) => kind === "remote" ? `--remote ${name}` : name),
        ...sets.map(({ source }) => `--data ${source}`),
        `--output-dir ${folder}`,
      ].join(" ")),
    ],
  };
}

function comparedOf({ sets }: CompareResults, models: ModelGroup[]): ReportComparison {
  return { sets: sets.map(({ name, role, rows }) => ({ name, role, rows: rows.length })), models };
}

/** The answers of several evaluations by question, so that those of all sizes stand side by side. */
export function joinAnswers(all: { label: string; evaluation: EvalResults }[]): ReportQuestion[] {
  const found = new Map<string, ReportQuestion>();
  for (const { label, evaluation } of all) {
    for (const { role, rows } of evaluation.sets) {
      for (const { question, reference, base, tuned } of rows) {
        const key = JSON.stringify([role, question, reference]);
        const entry = found.get(key) ?? { role, question, reference, answers: said("base", base) };
        found.set(key, { ...entry, answers: [...entry.answers, ...said(label, tuned)] });
      }
    }
  }
  return [...found.values()];
}

function said(who: string, answer: RowAnswer | undefined): ReportQuestion["answers"] {
  if (answer?.text === undefined) return [];
  return [{ who, text: answer.text, cut: answer.finish === "length" }];
}

function settingOf(evaluation: EvalResults | undefined): ReportData["setting"] {
  if (!evaluation) return null;
  const { name, parameters, engine, prompt_style } = evaluation.model;
  return { model: name, parameters, engine, promptStyle: prompt_style };
}

/** The settings that the paper names too. */
function trainingOf(run: string): string {
  const s = readRunSettings(run);
  const steps = s.max_steps > 0 ? `${s.max_steps} steps` : `${s.num_train_epochs} epochs`;
  return `${steps}, LoRA r ${s.r}, learning rate ${s.learning_rate}, batch ${s.per_device_train_batch_size} × ` +
    `${s.gradient_accumulation_steps}`;
}

function costOf(
  cell: Pick<CellResult, "name" | keyof typeof noCosts>,
  lines: LogLine[],
): ReportCost {
  const sum = (of: "seconds" | "tokens") => lines.reduce((total, line) => total + line[of], 0);
  return {
    name: cell.name,
    trainSeconds: cell.train_seconds,
    stepSeconds: lines.length === 0 ? null : sum("seconds"),
    evalSeconds: cell.eval_seconds,
    tokensPerSecond: lines.length === 0 || sum("seconds") === 0 ? null : sum("tokens") / sum("seconds"),
    memoryBytes: peakMemory(lines),
    energyJoules: cell.energy_joules,
    // Missing in results of earlier versions.
    cardEnergyJoules: cell.card_energy_joules ?? null,
  };
}

function configsIn(run: string): { name: string; text: string }[] {
  const path = join(run, runFiles.config);
  return kindOfPath(path) === "file" ? [{ name: path, text: readText(path) }] : [];
}

/** Flat lines, as an experiment's file has them; JSON is YAML. */
function yamlOf(settings: Record<string, unknown>): string {
  return Object.entries(settings).map(([name, value]) =>
    `${name}: ${typeof value === "string" && /^[\w./-]+$/.test(value) ? value : JSON.stringify(value)}\n`
  ).join("");
}
