/** The commands that the documentation shows, and what each of them says to the option parser. */
import { type CommandShape, readCommandLine } from "../../lib/cli/command_line.ts";

export interface ShownCommand {
  page: string;
  line: number;
  text: string;
}

/** The commands of a page's blocks of shell: lines without comments, joined where one ends in a backslash. */
export function commandsOf(page: string, text: string): ShownCommand[] {
  const commands: ShownCommand[] = [];
  let isShell = false, begun: ShownCommand | undefined;
  for (const [i, line] of text.split("\n").entries()) {
    if (line.startsWith("```")) isShell = !isShell && line === "```sh";
    else if (isShell) {
      const said = line.replace(/(^|\s)#\s.*$/, "").trim();
      if (said === "") continue;
      const command: ShownCommand = begun ?? { page, line: i + 1, text: "" };
      command.text += said.replace(/\\$/, "");
      begun = said.endsWith("\\") ? command : undefined;
      if (!begun) commands.push(command);
    }
  }
  return commands;
}

/** Those that stand in the text itself, between backquotes, with something behind the command's name. */
export function inlineCommandsOf(page: string, text: string): ShownCommand[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, (block) => block.replace(/[^\n]/g, ""));
  return [...prose.matchAll(/`(ftl [a-z]+ [^`]+)`/g)].map(({ 1: command, index }) => ({
    ...{ page, line: prose.slice(0, index).split("\n").length },
    text: command.replace(/\s+/g, " "),
  }));
}

/** Program and arguments of a command of ftl, whichever way it is started; undefined for other programs' commands. */
export function ftlArguments(text: string): string[] | undefined {
  const words = wordsOf(text.replace(/\s(\||>|<).*$/, "").replace(/^eval "\$\((.*)\)"$/, "$1"));
  while (/^[A-Z_]+=/.test(words[0] ?? "")) words.shift();
  const [program, ...rest] = words;
  if (program === "ftl" || program === "./ftl") return rest;
  if (program === "npx" && rest[0] === "-y" && /^deno@/.test(rest[1])) return ftlArguments(rest.slice(1).join(" "));
  if (!/^deno(@|$)/.test(program) || rest[0] !== "task") return undefined;
  if (rest[1] === "ftl") return rest.slice(2);
  return ["train", "experiment"].includes(rest[1]) ? rest.slice(1) : undefined;
}

/** What is wrong with the arguments, as the program itself would say. */
export function problemsOf(args: string[], shapes: CommandShape[]): string[] {
  const [name, ...rest] = args;
  if (/^(--help|--version)$/.test(name)) return [];
  const shape = shapes.find((one) => one.name === name);
  if (!shape) return [`${name}: no such command`];
  try {
    const line = readCommandLine(shape, rest);
    return "help" in line ? [] : line.problems;
  } catch (error) {
    return [(error as Error).message];
  }
}

/** Words as a shell cuts them, as far as the documentation's commands need it. */
function wordsOf(text: string): string[] {
  return [...text.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) =>
    word.replace(/"([^"]*)"|'([^']*)'/g, (_, double, single) => double ?? single)
  );
}
