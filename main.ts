/**
 * The program: picks the recipe of a command, prints what a user can act on, sets the exit code. 0 done, 1 could not be
 * done, 2 wrong usage, 130 stopped by Ctrl-C, 141 nobody reads on. The stack of an error is shown only when FTL_DEBUG
 * is set.
 */
import { nearest, UserError } from "./lib/errors.ts";
import { overview } from "./lib/cli/overview.ts";
import { limitNetwork } from "./lib/cli/network.ts";
import { outliveTerminal, printError } from "./lib/cli/terminal.ts";

/** Loaded on demand, so that --help does not wait for the whole program. */
const commands: Record<string, () => Promise<{ command: (args: string[]) => Promise<number> }>> = {
  train: () => import("./lib/cli/train.ts"),
  data: () => import("./lib/cli/data.ts"),
  plan: () => import("./lib/cli/plan.ts"),
  pull: () => import("./lib/cli/pull.ts"),
  run: () => import("./lib/cli/run.ts"),
  serve: () => import("./lib/cli/serve.ts"),
  export: () => import("./lib/cli/export.ts"),
  eval: () => import("./lib/cli/eval.ts"),
  compare: () => import("./lib/cli/compare.ts"),
  models: () => import("./lib/cli/models.ts"),
  experiment: () => import("./lib/cli/experiment.ts"),
  report: () => import("./lib/cli/report.ts"),
  doctor: () => import("./lib/cli/doctor.ts"),
  licenses: () => import("./lib/cli/licenses.ts"),
};

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    console.log(overview);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-V") {
    console.log(await (await import("./lib/cli/version.ts")).showVersion());
    return 0;
  }
  if (!Object.hasOwn(commands, name)) {
    const near = nearest(name, Object.keys(commands));
    throw new UserError(`Unknown command "${name}"${near ? `, did you mean ${near}?` : ""}`, {
      hint: "See ftl --help",
      exitCode: 2,
    });
  }
  // Before any dependency is loaded.
  await limitNetwork(name, rest);
  return await (await commands[name]()).command(rest);
}

if (import.meta.main) {
  outliveTerminal();
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    Deno.exitCode = printError(error);
  }
}
