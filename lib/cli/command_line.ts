/**
 * The command line of one command: commander's parser and help, made from the table of options. Collects problems
 * instead of stopping at the first, takes --learning-rate and --learning_rate alike, and never exits or prints.
 */
import { Command, CommanderError, Option } from "commander";
import { UserError } from "../errors.ts";
import type { CommandName, OptionSpec } from "./option_spec.ts";
import { flagOf, optionsOf, type Settings } from "./options.ts";
import { checkValues, parseFlag, suggestion } from "./schema.ts";
import { problemsError } from "./resolve.ts";

/** What may stand in a place of the command line: some of these words, or something that is looked for. */
export interface Slot {
  words?: readonly string[];
  kinds?: readonly ("file" | "folder" | "run" | "model")[];
}

export interface CommandShape {
  name: CommandName;
  /** What the command does, one or two sentences. */
  summary: string;
  /** The arguments that are not flags, as the usage line shows them: "[config.yaml]". */
  usage: string;
  /** How many of them there may be. */
  most: number;
  /** What each of them may be, for a shell that completes it; what the last one says holds for all that follow. */
  takes: Slot[];
  /** Command and what it does. */
  examples: [string, string][];
}

export interface CommandLine {
  positional: string[];
  /** Values of the flags given, by option name, each right by itself. */
  flags: Record<string, unknown>;
  problems: string[];
}

/** Columns of a command's help. */
const helpWidth = 120;

/** What the arguments say; or the help, where they ask for that. */
export function readCommandLine(shape: CommandShape, args: string[]): CommandLine | { help: string } {
  const specs = optionsOf(shape.name);
  const command = commandOf(shape, specs);
  try {
    command.parse(args.map((arg) => normalise(arg, specs)), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === "commander.helpDisplayed") {
      return { help: command.helpInformation() + belowOptions(shape, specs) };
    }
    throw new UserError(error.message.replace(/^error: /, ""), { hint: `See ftl ${shape.name} --help`, exitCode: 2 });
  }

  const problems: string[] = [];
  const positional: string[] = [];
  for (const arg of command.args) {
    if (!/^-./.test(arg)) positional.push(arg);
    else problems.push(`${arg}: unknown flag${suggestion(arg.replace(/=.*/s, ""), specs.map(([name]) => name))}`);
  }
  // What follows an unknown flag may be its value.
  if (problems.length === 0) {
    for (const extra of positional.slice(shape.most)) problems.push(`${extra}: unexpected argument`);
  }

  const given: Record<string, unknown> = {};
  const values = command.opts();
  for (const [name, spec] of specs) {
    const value = values[camelCase(name)];
    if (value !== undefined) given[name] = typeof value === "string" ? parseFlag(value, spec) : value;
  }
  const checked = checkValues(given, { specs, place: flagOf });
  return { positional, flags: checked.values, problems: [...problems, ...checked.problems] };
}

/** The settings of a command that has no files and presets: flags, else defaults. Throws UserError, exit code 2. */
export function settingsOf<C extends CommandName>(command: C, line: CommandLine): Settings<C> {
  if (line.problems.length > 0) throw problemsError(line.problems, command);
  return Object.fromEntries(
    optionsOf(command).map(([name, spec]) => [name, line.flags[name] ?? spec.default]),
  ) as Settings<C>;
}

function commandOf(shape: CommandShape, specs: [string, OptionSpec][]): Command {
  const command = new Command(`ftl ${shape.name}`)
    .description(shape.summary)
    .usage(`${shape.usage} [options]`.trim())
    .allowUnknownOption()
    .allowExcessArguments()
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .configureHelp({ helpWidth })
    .helpOption("-h, --help", "show this help");
  for (const [name, spec] of specs) {
    const short = spec.short ? `-${spec.short}, ` : "";
    const value = spec.type === "boolean" ? "" : ` <${placeholder(spec)}>`;
    const option = new Option(`${short}${flagOf(name)}${value}`, helpOf(spec)).helpGroup(`${spec.group}:`);
    if (spec.type === "texts") option.argParser((given: string, before?: string[]) => [...before ?? [], given]);
    command.addOption(option);
    if (spec.type !== "boolean") continue;
    command.addOption(new Option(`--no-${flagOf(name).slice(2)}`).helpGroup(`${spec.group}:`).hideHelp());
  }
  return command;
}

/** What stands for an option's value: "folder", nothing for a switch. */
export function placeholder(spec: OptionSpec): string {
  switch (spec.type) {
    case "string":
    case "texts":
      return spec.placeholder;
    case "choice":
      return "word";
    case "list":
      return "a,b";
    case "boolean":
      return "";
    default:
      return "n";
  }
}

/** What an option does, with its choices and its default. */
export function helpOf(spec: OptionSpec): string {
  const facts = [choicesOf(spec).join(", "), defaultOf(spec)].filter((fact) => fact !== "");
  return facts.length === 0 ? spec.help : `${spec.help} (${facts.join("; ")})`;
}

/** The words that an option may be, where it says them itself. */
export function choicesOf(spec: OptionSpec): readonly string[] {
  return spec.type === "choice" || (spec.type === "list" && spec.choices.length < 7) ? spec.choices : [];
}

/** "default: 3", or nothing. */
function defaultOf(spec: OptionSpec): string {
  const value = Array.isArray(spec.default) ? spec.default.join(",") : spec.default;
  return value === null || value === "" || value === false ? "" : `default: ${value}`;
}

/** What stands below the options: examples in two columns, or each under what it does where that is too wide. */
function belowOptions(shape: CommandShape, specs: [string, OptionSpec][]): string {
  const isOn = specs.some(([, spec]) => spec.type === "boolean" && spec.default);
  const width = Math.max(...shape.examples.map(([line]) => line.length));
  const isWide = shape.examples.some(([, what]) => width + what.length > helpWidth - 4);
  return (isOn ? "\nA setting that is on by default is turned off with --no-NAME.\n" : "") + "\nExamples:\n" +
    shape.examples.map(([line, what]) => isWide ? `  # ${what}\n  ${line}\n` : `  ${line.padEnd(width)}  ${what}\n`)
      .join("");
}

/** --learning_rate=1 becomes --learning-rate=1, and --use-dora=false becomes --no-use-dora. */
function normalise(arg: string, specs: [string, OptionSpec][]): string {
  const match = /^--([^=]+)(=.*)?$/s.exec(arg);
  if (!match) return arg;
  const name = match[1].replaceAll("-", "_");
  const spec = specs.find(([known]) => known === name)?.[1];
  if (spec?.type === "boolean" && match[2] === "=false") return `--no-${flagOf(name).slice(2)}`;
  if (spec?.type === "boolean" && match[2] === "=true") return flagOf(name);
  return spec || name.startsWith("no_") ? `${flagOf(name)}${match[2] ?? ""}` : arg;
}

/** commander's name of an option's value. */
function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
}
