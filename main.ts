/**
 * The program: picks the recipe of a command, prints what a user can act on, sets the exit code. 0 done, 1 could not be
 * done, 2 wrong usage, 130 stopped by Ctrl-C, 141 nobody reads on. The stack of an error is shown only when FTL_DEBUG
 * is set.
 */
import { nearest, UserError } from "./lib/errors.ts";
import { commands, runCommand } from "./lib/cli/commands.ts";
import { limitNetwork } from "./lib/cli/network.ts";
import type { CommandName } from "./lib/cli/option_spec.ts";
import { otherCommands, overview } from "./lib/cli/overview.ts";
import { outliveTerminal, printError } from "./lib/cli/terminal.ts";

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "help" && Object.hasOwn(commands, rest[0] ?? "")) return await main([rest[0], "--help"]);
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    console.log(overview);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-V" || name === "version") {
    console.log(await (await import("./lib/cli/version.ts")).showVersion());
    return 0;
  }
  if (!Object.hasOwn(commands, name)) {
    const near = otherCommands[name.toLowerCase()] ?? nearest(name, Object.keys(commands));
    throw new UserError(`Unknown command "${name}"${near ? `, did you mean ${near}?` : ""}`, {
      hint: "See ftl --help",
      exitCode: 2,
    });
  }
  // Before any dependency is loaded.
  await limitNetwork(name, rest);
  return await runCommand(name as CommandName, rest);
}

if (import.meta.main) {
  outliveTerminal();
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    Deno.exitCode = printError(error);
  }
}
