/**
 * Which value each setting of a training run has, and from where: flag > file > preset > default. Reads YAML text,
 * never files, so that it can be tested without a disk. Every problem of every source is collected before it throws.
 */
import { isMap, LineCounter, parseDocument, stringify } from "yaml";
import { UserError } from "../errors.ts";
import { nestsKeys } from "../formats/yaml_keys.ts";
import paper from "../../templates/presets/paper.yaml" with { type: "text" };
import quick from "../../templates/presets/quick.yaml" with { type: "text" };
import type { OptionSpec } from "./option_spec.ts";
import { type OptionName, options, optionsOf, type Settings } from "./options.ts";
import { checkValues } from "./schema.ts";

const presets: Record<string, string> = { paper, quick };

export type Source = "flag" | "file" | "preset" | "default";
export type TrainSettings = Settings<"train">;

export interface Resolved {
  settings: TrainSettings;
  sources: Record<keyof TrainSettings, Source>;
}

export interface Sources {
  /** Values of flags by option name, checked already. */
  flags: Record<string, unknown>;
  /** Problems found while reading the flags, to be reported with the others. */
  problems?: string[];
  /** Whose help to point to; default: train. */
  command?: "train" | "plan" | "data";
  /** A YAML file the user named. */
  file?: { text: string; name: string };
}

/** Throws one UserError, exit code 2, that lists everything wrong with the settings. */
export function resolveTrain({ flags, file, problems = [], command = "train" }: Sources): Resolved {
  const specs = optionsOf("train");
  const found = [...problems];
  const fromFile = file ? readYaml(file, { specs, problems: found }) : {};
  const name = (flags.preset ?? fromFile.preset ?? options.preset.default) as string;
  const presetText = presets[name];
  const fromPreset = presetText
    ? readYaml({ text: presetText, name: `preset ${name}` }, { specs, problems: found })
    : {};

  const layers: [Source, Record<string, unknown>][] = [["flag", flags], ["file", fromFile], ["preset", fromPreset]];
  const settings: Record<string, unknown> = {}, sources: Record<string, Source> = {};
  for (const [name, spec] of specs) {
    const layer = layers.find(([, values]) => values[name] !== undefined);
    settings[name] = layer ? layer[1][name] : Array.isArray(spec.default) ? [...spec.default] : spec.default;
    sources[name] = layer ? layer[0] : "default";
  }
  const resolved = { settings, sources } as unknown as Resolved;
  preferTheNearer(resolved);
  found.push(...contradictions(resolved));
  if (found.length > 0) throw problemsError(found, command);
  return resolved;
}

/** Problems that are listed; a damaged file may have one in every line. */
const mostProblems = 30;

/** One line when there is one problem, otherwise a line for each. */
export function problemsError(problems: string[], command = "train"): UserError {
  const hint = `See ftl ${command} --help`, more = problems.length - mostProblems;
  if (problems.length === 1) return new UserError(problems[0], { hint, exitCode: 2 });
  const shown = [...problems.slice(0, mostProblems), ...more > 0 ? [`and ${more} more`] : []];
  return new UserError(`${problems.length} settings are wrong:`, { hint, exitCode: 2, problems: shown });
}

/** `--num-train-epochs 5` given beside a preset's max_steps is meant: the setting from the stronger source counts. */
function preferTheNearer({ settings, sources }: Resolved): void {
  const strength: Source[] = ["default", "preset", "file", "flag"];
  if (strength.indexOf(sources.num_train_epochs) > strength.indexOf(sources.max_steps)) {
    settings.max_steps = -1;
    sources.max_steps = sources.num_train_epochs;
  }
}

/** Whether a person chose a value, rather than a preset or the table. */
export function isGiven(source: Source): boolean {
  return source === "flag" || source === "file";
}

/** What single values cannot show to be wrong. */
function contradictions({ settings: s, sources }: Resolved): string[] {
  const problems: string[] = [];
  const evaluates = s.eval_data.length > 0 || s.eval_split > 0;
  if (s.eval_steps > 0 && !evaluates) problems.push("eval_steps: needs eval_data or eval_split to evaluate on");
  if (s.early_stopping_patience > 0 && s.eval_steps === 0) {
    problems.push("early_stopping_patience: needs eval_steps, the steps between evaluations");
  }
  if (s.eval_data.length > 0 && s.eval_split > 0) problems.push("eval_split: cannot be used together with eval_data");
  if (s.data.length === 0) problems.push("data: needs at least one file");
  if (s.target_modules.length === 0) problems.push("target_modules: needs at least one module");
  if (s.max_steps === 0) problems.push("max_steps: expected -1, or at least 1, got 0");
  if (s.max_steps === -1 && s.num_train_epochs === 0) problems.push("num_train_epochs: expected more than 0, got 0");
  if (s.learning_rate === 0) problems.push("learning_rate: expected more than 0, got 0");
  if (s.lora_alpha === 0) problems.push("lora_alpha: expected more than 0, got 0");
  if (s.max_steps > 0 && s.warmup_steps >= s.max_steps && isGiven(sources.warmup_steps)) {
    problems.push(`warmup_steps: expected fewer than the ${s.max_steps} steps of the run, got ${s.warmup_steps}`);
  }
  return problems;
}

/** The settings of a flat YAML file; problems carry file and line. */
function readYaml(
  file: { text: string; name: string },
  { specs, problems }: { specs: [OptionName, OptionSpec][]; problems: string[] },
): Record<string, unknown> {
  const { values, place } = readYamlMap(file, problems);
  const checked = checkValues(values, { specs, place });
  problems.push(...checked.problems);
  return checked.values;
}

/** Characters of a file of settings: the parser takes up to 0.1 ms for one of a damaged file. */
const mostText = 1 << 16;

/** The lines of a YAML file as they are, empty where it is not one, and where each stands: "run.yaml:3: seed". */
export function readYamlMap(
  { text, name }: { text: string; name: string },
  problems: string[],
): { values: Record<string, unknown>; place: (key: string) => string } {
  const nothing = { values: {}, place: (key: string) => `${name}: ${key}` };
  if (text.length > mostText) {
    problems.push(`${name}: ${text.length} characters, a file of settings has at most ${mostText}`);
    return nothing;
  }
  if (nestsKeys(text)) {
    problems.push(`${name}: expected lines of the form name: value, found keys that begin with "? "`);
    return nothing;
  }
  const lines = new LineCounter();
  const what = (message: string) => /call stack/.test(message) ? "nested too deep" : message;
  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  } catch (error) {
    problems.push(`${name}: ${what((error as Error).message)}`);
    return nothing;
  }
  for (const error of document.errors) {
    problems.push(`${name}:${lines.linePos(error.pos[0]).line}: ${what(error.message)}`);
  }
  if (document.errors.length > 0) return nothing;
  if (document.contents !== null && !isMap(document.contents)) {
    problems.push(`${name}:1: expected lines of the form name: value`);
    return nothing;
  }
  let values: unknown;
  try {
    values = document.toJS() ?? {};
    JSON.stringify(values); // Throws for a value that holds itself.
  } catch (error) {
    problems.push(`${name}: ${(error as Error).message}`);
    return nothing;
  }
  const lineOf = (key: string) => {
    const pair = (document.contents as unknown as { items: { key: { value: unknown; range?: number[] } }[] }).items
      .find((item) => String(item.key.value) === key);
    return lines.linePos(pair?.key.range?.[0] ?? 0).line;
  };
  return { values: values as Record<string, unknown>, place: (key) => `${name}:${lineOf(key)}: ${key}` };
}

/**
 * The text of a run's config.yaml: every setting with its value, in the table's groups, to be run again as it is.
 * `notes` are added behind a value, such as why a learning rate was chosen.
 */
export function renderSettings(
  settings: TrainSettings,
  { head, notes = {} }: { head: string[]; notes?: Partial<Record<keyof TrainSettings, string>> },
): string {
  const lines = head.map((line) => `# ${line}`);
  let group = "";
  for (const [name, spec] of optionsOf("train")) {
    if (spec.group !== group) lines.push("", `# ${group = spec.group}`);
    const key = name as keyof TrainSettings;
    const plain = stringify(settings[key], { collectionStyle: "flow", lineWidth: 0 }).trimEnd();
    const value = plain.includes("\n") ? JSON.stringify(settings[key]) : plain;
    const note = notes[key];
    lines.push(`${name}: ${value}${note ? `  # ${note}` : ""}`);
  }
  return lines.join("\n") + "\n";
}
