/** `ftl man`: the manual page ftl(1), in roff's man macros, from the tables that --help is made of. */
import { type CommandLine, type CommandShape, helpOf, placeholder, settingsOf } from "./command_line.ts";
import { commandShapes } from "./commands.ts";
import type { OptionSpec } from "./option_spec.ts";
import { flagOf, optionsOf } from "./options.ts";
import { environment, firstExamples, summaries, version } from "./overview.ts";

export const shape: CommandShape = {
  name: "man",
  summary: "Prints the manual page of ftl, for the program man.",
  usage: "",
  most: 0,
  takes: [],
  examples: [
    ["ftl man | man -l -", "read it"],
    ["ftl man > ~/.local/share/man/man1/ftl.1", "install it for man ftl"],
  ],
};

export async function command(line: CommandLine): Promise<number> {
  settingsOf("man", line);
  console.log(manualPage(await commandShapes()));
  return 0;
}

export function manualPage(shapes: CommandShape[]): string {
  return [
    `.TH FTL 1 "" ${quoted(version)} "User Commands"`,
    ".SH NAME",
    "ftl \\- fine-tunes a language model on one ordinary machine",
    ".SH SYNOPSIS",
    ".B ftl",
    ".I command",
    ".RI [ options ]",
    ".SH DESCRIPTION",
    roff("Fine-tunes a large language model by QLoRA, measures and exports the result, and serves it over HTTP."),
    roff("The commands:"),
    ...shapes.flatMap(({ name }) => [".TP", `.B ${roff(name)}`, roff(summaries[name])]),
    ".SH COMMANDS",
    ...shapes.flatMap(commandPart),
    ".SH ENVIRONMENT",
    ...environment.flatMap(([names, what]) => [".TP", `.B ${roff(names)}`, roff(what)]),
    ".SH EXIT STATUS",
    ...exitCodes.flatMap(([code, what]) => [".TP", `.B ${code}`, roff(what)]),
    ".SH EXAMPLES",
    ...firstExamples.flatMap(examplePart),
  ].join("\n");
}

const exitCodes = [
  ["0", "done"],
  ["1", "could not be done"],
  ["2", "wrong usage"],
  ["130", "stopped by Ctrl-C"],
];

function commandPart(shape: CommandShape): string[] {
  const specs = optionsOf(shape.name), groups = Map.groupBy(specs, ([, { group }]) => group);
  return [
    `.SS ${quoted(`ftl ${shape.name} ${shape.usage}`.trim())}`,
    ...paragraphs(shape.summary),
    ...[...groups].flatMap(([group, specs]) => [".PP", `.B ${quoted(`${group}:`)}`, ...specs.flatMap(optionPart)]),
    ".PP",
    ".B Examples:",
    ...shape.examples.flatMap(examplePart),
  ];
}

function optionPart([name, spec]: [string, OptionSpec]): string[] {
  const asked = placeholder(spec);
  const names = [...spec.short ? [`-${spec.short}`] : [], flagOf(name)].map((flag) => `\\fB${roff(flag)}\\fR`);
  return [
    ".TP",
    names.join(", ") + (asked === "" ? "" : ` \\fI${roff(asked)}\\fR`),
    roff(helpOf(spec)),
  ];
}

function examplePart([line, what]: [string, string]): string[] {
  return [".TP", `.B ${quoted(line)}`, roff(what)];
}

/** Lines that begin with a blank are kept as they stand, such as those of a table. */
function paragraphs(text: string): string[] {
  return text.split("\n\n").flatMap((paragraph, i) => {
    const lines = paragraph.split("\n"), table = lines.findIndex((line) => line.startsWith(" "));
    const before = i === 0 ? [] : [".PP"];
    if (table < 0) return [...before, ...lines.map(roff)];
    return [...before, ...lines.slice(0, table).map(roff), ".PP", ".nf", ...lines.slice(table).map(roff), ".fi"];
  });
}

/** As the argument of a macro. */
function quoted(text: string): string {
  return `"${roff(text).replaceAll('"', "\\(dq")}"`;
}

/** Text that roff takes as it is: no escapes, hyphens that can be copied, no line that looks like a request. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^[.']/, "\\&$&");
}
