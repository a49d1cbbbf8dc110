/**
 * Every command, loaded when it is wanted, so that --help does not wait for the whole program: its shape, which help,
 * completion, man page and documentation are made of, and the recipe that runs it.
 */
import type { CommandLine, CommandShape } from "./command_line.ts";
import type { CommandName } from "./option_spec.ts";

interface CommandModule {
  shape: CommandShape;
  /** Runs it and returns the exit code. */
  command: (line: CommandLine) => Promise<number>;
}

export const commands: Record<CommandName, () => Promise<CommandModule>> = {
  train: () => import("./train.ts"),
  data: () => import("./data.ts"),
  plan: () => import("./plan.ts"),
  run: () => import("./run.ts"),
  serve: () => import("./serve.ts"),
  export: () => import("./export.ts"),
  eval: () => import("./eval.ts"),
  compare: () => import("./compare.ts"),
  experiment: () => import("./experiment.ts"),
  report: () => import("./report.ts"),
  pull: () => import("./pull.ts"),
  models: () => import("./models.ts"),
  doctor: () => import("./doctor.ts"),
  licenses: () => import("./licenses.ts"),
  completions: () => import("./completions.ts"),
  man: () => import("./man.ts"),
};

/** Runs a command, or shows its help where `args` ask for that; returns the exit code. */
export async function runCommand(name: CommandName, args: string[]): Promise<number> {
  const { readCommandLine } = await import("./command_line.ts");
  const { shape, command } = await commands[name](), line = readCommandLine(shape, args);
  if (!("help" in line)) return await command(line);
  console.log(line.help);
  return 0;
}

/** The shapes of all commands, in the order in which a person meets them. */
export async function commandShapes(): Promise<CommandShape[]> {
  return (await Promise.all(Object.values(commands).map((load) => load()))).map(({ shape }) => shape);
}
