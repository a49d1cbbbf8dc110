/**
 * From the text of an experiment to its cells. The text is a flat YAML file of ftl train's settings in which any value
 * may be a list: each list is an axis of the grid, each combination a training of its own. Nothing is read or run here.
 */
import { basename } from "node:path";
import { parse, stringify } from "yaml";
import { UserError } from "../errors.ts";
import { type OptionName, optionsOf } from "./options.ts";
import type { OptionSpec } from "./option_spec.ts";
import { problemsError, readYamlMap, resolveTrain, type TrainSettings } from "./resolve.ts";
import { checkValues, suggestion } from "./schema.ts";

export interface ExperimentPlan {
  /** Every line as it was given, `--set` included. */
  settings: Record<string, unknown>;
  /** Names of the settings with several values, in the order given. */
  axes: string[];
  cells: PlannedCell[];
  evaluation: CellEvaluation;
  /** Files of questions that base models and trained ones are compared on in the end; none: they are not. */
  compare: string[];
}

export interface PlannedCell {
  /** Of its folder: "cultural-qa-4_seed-3407". */
  name: string;
  /** The values that tell it from other cells. */
  axes: Record<string, unknown>;
  /** The lines of its ftl train file. */
  given: Record<string, unknown>;
  /** What they come to. */
  settings: TrainSettings;
}

/** Settings of ftl eval that hold for every cell. */
export interface CellEvaluation {
  limit: number;
  max_new_tokens: number;
}

const mostCells = 1000;
/** What the experiment decides itself. */
const decided = ["output_dir", "resume", "profile", "export"];

/** `set`: lines "name=value" that stand over the file's. Errors: one UserError, exit code 2, with every problem. */
export function planExperiment(
  file: { text: string; name: string },
  { set = [] }: { set?: string[] } = {},
): ExperimentPlan {
  const problems: string[] = [];
  const { values: written, place: placeInFile } = readYamlMap(file, problems);
  const over = readOverrides(set, problems);
  const place = (key: string) => Object.hasOwn(over, key) ? `--set ${key}` : placeInFile(key);
  const settings: Record<string, unknown> = { ...written, ...over };
  const { train, evaluation, compare } = split(settings, { place, problems });
  const axes: [string, unknown[]][] = [], fixed: Record<string, unknown> = {};
  for (const [name, { value, spec }] of train) {
    if (!isAxis(value, spec)) fixed[name] = value;
    else if (value.length === 0) problems.push(`${place(name)}: the list is empty`);
    else if (new Set(value.map(keyOf)).size < value.length) problems.push(`${place(name)}: a value stands there twice`);
    else axes.push([name, value]);
  }
  const count = axes.reduce((product, [, values]) => product * values.length, 1);
  if (count > mostCells) problems.push(`${file.name}: ${count} trainings, at most ${mostCells} make an experiment`);
  if (problems.length > 0) throw problemsError(problems, "experiment");
  const cells = combinations(axes).map((values) => planCell(values, { fixed, axes }));
  const twice = cells.find(({ name }, i) => cells.findIndex((cell) => cell.name === name) < i);
  if (twice !== undefined) {
    throw problemsError(
      [`${file.name}: two cells would be called ${twice.name}; name their files otherwise`],
      "experiment",
    );
  }
  return { settings, axes: axes.map(([name]) => name), cells, evaluation, compare };
}

function readOverrides(set: string[], problems: string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const line of set) {
    const [, name, text] = /^\s*([\w-]+)\s*=(.*)$/s.exec(line) ?? [];
    if (name === undefined) {
      problems.push(`--set ${line}: expected name=value, as in seed=[1,2]`);
      continue;
    }
    try {
      found[name.replaceAll("-", "_")] = parse(text);
    } catch (error) {
      problems.push(`--set ${line}: ${(error as Error).message.split("\n")[0]}`);
    }
  }
  return found;
}

type Given = [name: OptionName, { value: unknown; spec: OptionSpec }];

/** Which lines belong to training and which to evaluation, each value of a list checked by itself. */
function split(
  settings: Record<string, unknown>,
  { place, problems }: { place: (key: string) => string; problems: string[] },
): { train: Given[]; evaluation: CellEvaluation; compare: string[] } {
  const ofTrain = new Map<string, OptionSpec>(optionsOf("train"));
  const train: Given[] = [], measuring: Record<string, unknown> = {}, afterwards = measuringSpecs();
  for (const [name, spec] of afterwards) measuring[name] = spec.default;
  for (const [name, value] of Object.entries(settings)) {
    const spec = ofTrain.get(name), later = afterwards.get(name);
    if (spec === undefined && later === undefined) {
      const near = suggestion(name, [...ofTrain.keys(), ...afterwards.keys()]);
      problems.push(`${place(name)}: unknown setting${near}`);
    } else if (decided.includes(name)) {
      problems.push(`${place(name)}: an experiment sets this itself`);
    } else {
      const one: [string, OptionSpec][] = [[name, later ?? spec!]];
      const all = !later && isAxis(value, spec!) ? value : [value];
      const checked = all.map((each) => checkValues({ [name]: each }, { specs: one, place }));
      problems.push(...checked.flatMap((each) => each.problems));
      if (later) measuring[name] = checked[0].values[name];
      else train.push([name as OptionName, { value, spec: spec! }]);
    }
  }
  const { compare, ...evaluation } = measuring;
  return { train, evaluation: evaluation as unknown as CellEvaluation, compare: compare as string[] };
}

/** Settings that are not of the training: those of ftl eval, and the rows that ftl compare asks. */
function measuringSpecs(): Map<string, OptionSpec> {
  const specOf = (command: "eval" | "compare", wanted: string) =>
    optionsOf(command).find(([name]) => name === wanted)![1];
  return new Map([
    ["limit", specOf("eval", "limit")],
    ["max_new_tokens", specOf("eval", "max_new_tokens")],
    ["compare", specOf("compare", "data")],
  ]);
}

/**
 * A list, and of a setting whose value is a list of words, such as target_modules, a list of lists. Of data each file is
 * a value: a list in it holds files that are learnt together.
 */
function isAxis(value: unknown, spec: OptionSpec): value is unknown[] {
  if (!Array.isArray(value)) return false;
  return spec.type !== "list" || value.some(Array.isArray);
}

/** Every choice of one value of each axis; the last axis changes fastest. */
export function combinations(axes: [string, unknown[]][]): Record<string, unknown>[] {
  return axes.reduce<Record<string, unknown>[]>(
    (before, [name, values]) => before.flatMap((cell) => values.map((value) => ({ ...cell, [name]: value }))),
    [{}],
  );
}

function planCell(
  values: Record<string, unknown>,
  { fixed, axes }: { fixed: Record<string, unknown>; axes: [string, unknown[]][] },
): PlannedCell {
  const name = nameOf(values, axes);
  const given = { questions: 0, ...fixed, ...values };
  try {
    const { settings } = resolveTrain({ flags: {}, file: { text: stringify(given), name } });
    return { name, axes: values, given, settings };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const { problems } = error, [what] = error.message.split("\n");
    throw new UserError(`Cell ${name}: ${what}`, { hint: "See ftl experiment --help", exitCode: 2, problems });
  }
}

/** "cultural-qa-4_seed-1". Paths go by their last part where that tells them apart. */
function nameOf(values: Record<string, unknown>, axes: [string, unknown[]][]): string {
  const parts = axes.map(([name, all]) => {
    const isPath = name === "data" || name === "model";
    const short = isPath && new Set(all.map(lastPart)).size === all.length;
    const text = short ? lastPart(values[name]) : showSetting(values[name]);
    const plain = text.replace(/[^\w.-]+/g, "-").replace(/^[-.]+|-+$/g, "");
    return isPath ? plain : `${name}-${plain}`;
  });
  return parts.join("_").slice(0, 200) || "cell";
}

/** "data/cultural-qa-4.jsonl" -> "cultural-qa-4" */
export function lastPart(path: unknown): string {
  if (Array.isArray(path)) return path.map(lastPart).join("+");
  return basename(String(path).replace(/[\\/]+$/, "")).replace(
    /\.(jsonl?|ndjson|csv|tsv|parquet|xlsx|txt|md|gguf)$/i,
    "",
  );
}

/** A setting's value as a person would write it. */
export function showSetting(value: unknown): string {
  return typeof value === "string" ? value : Array.isArray(value) ? value.join("+") : JSON.stringify(value);
}

function keyOf(value: unknown): string {
  return JSON.stringify(value);
}
