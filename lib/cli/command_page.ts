/** The documentation's page of a command, in Markdown, from the tables that its --help is made of. */
import { choicesOf, type CommandShape, placeholder } from "./command_line.ts";
import type { OptionSpec } from "./option_spec.ts";
import { flagOf, optionsOf } from "./options.ts";
import { summaries } from "./overview.ts";

/** What stands in front of every page that is made. */
const made = "<!-- Made by deno task docs from the tables of lib/cli; changes here are lost. -->\n\n";

export function commandPage(shape: CommandShape): string {
  const groups = Map.groupBy(optionsOf(shape.name), ([, { group }]) => group);
  return [
    `${made}# ftl ${shape.name}`,
    ...shape.summary.split("\n\n").map(paragraph),
    fenced(`ftl ${shape.name} ${shape.usage} [options]`.replace("  ", " ")),
    "## Examples",
    fenced(shape.examples.map(([line, what]) => `# ${what}\n${line}`).join("\n\n"), "sh"),
    ...groups.size > 0 ? ["## Settings", ...optionsText(shape)] : [],
    ...[...groups].flatMap(([group, specs]) => [`### ${group}`, optionsTable(specs)]),
  ].join("\n\n") + "\n";
}

/** The list of all commands with their pages. */
export function commandsPage(shapes: CommandShape[]): string {
  const rows = shapes.map(({ name }) => `| [\`ftl ${name}\`](${name}.md) | ${escaped(summaries[name])} |`);
  return [`${made}# Commands`, table(["command", "what it does"], rows)].join("\n\n") + "\n";
}

function optionsText({ name }: CommandShape): string[] {
  const isOn = optionsOf(name).some(([, spec]) => spec.type === "boolean" && spec.default);
  return isOn ? ["A setting that is on by default is turned off with `--no-NAME`."] : [];
}

function optionsTable(specs: [string, OptionSpec][]): string {
  return table(
    ["setting", "default", "what"],
    specs.map(([name, spec]) => {
      const names = [flagOf(name), ...spec.short ? [`-${spec.short}`] : []].map((flag) => `\`${flag}\``).join(", ");
      const asked = placeholder(spec), choices = choicesOf(spec);
      const value = Array.isArray(spec.default) ? spec.default.join(", ") : spec.default;
      const shown = value === null || value === "" || value === false ? "" : `\`${value}\``;
      return `| ${names}${asked === "" ? "" : ` ${escaped(asked)}`} | ${shown} | ${escaped(spec.help)}${
        choices.length === 0 ? "" : ` (${choices.map((word) => `\`${word}\``).join(", ")})`
      } |`;
    }),
  );
}

function table(head: string[], rows: string[]): string {
  return [`| ${head.join(" | ")} |`, `| ${head.map(() => "---").join(" | ")} |`, ...rows].join("\n");
}

/** A paragraph; from the first line on that begins with a blank it is shown as it stands. */
function paragraph(text: string): string {
  const lines = text.split("\n"), kept = lines.findIndex((line) => line.startsWith(" "));
  if (kept < 0) return escaped(text);
  return `${escaped(lines.slice(0, kept).join("\n"))}\n\n${fenced(lines.slice(kept).join("\n"))}`;
}

function fenced(text: string, language = ""): string {
  return "```" + language + "\n" + text + "\n```";
}

function escaped(text: string): string {
  return text.replaceAll("<", "\\<").replaceAll("|", "\\|").replaceAll("*", "\\*");
}
