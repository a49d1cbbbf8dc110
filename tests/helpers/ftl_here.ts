/** Commands of ftl in this process, for tests that reach into it, and what stands in for the processes they start. */
import { AsyncLocalStorage } from "node:async_hooks";
import { runCommand } from "../../lib/cli/commands.ts";
import type { CommandName } from "../../lib/cli/option_spec.ts";
import { printError } from "../../lib/cli/terminal.ts";
import type { Ran } from "./ftl.ts";

/** Where the console of a command goes, though others run at once. */
const consoles = new AsyncLocalStorage<{ log(line: string): void; error(line: string): void }>();

/** Runs a command as main.ts does. */
export async function ftlHere(args: string[]): Promise<Ran> {
  let stdout = "", stderr = "";
  const code = await consoles.run({
    log: (line) => void (stdout += line + "\n"),
    error: (line) => void (stderr += line + "\n"),
  }, () => exitCodeOf(args));
  return { code, stdout, stderr };
}

async function exitCodeOf([name, ...rest]: string[]): Promise<number> {
  try {
    return await runCommand(name as CommandName, rest);
  } catch (error) {
    return printError(error);
  }
}

/**
 * Calls `body` where consoles of commands are caught, where `child` runs the commands that processes are made for, and
 * where nobody gives up the network, which no test would get back.
 */
export async function withFtlHere<T>(
  { env, child }: { env: Record<string, string>; child: (args: string[]) => Promise<Ran> },
  body: () => Promise<T>,
): Promise<T> {
  const { log, error } = console, { Command } = Deno, { revoke } = Deno.permissions, earlier = Deno.env.toObject();
  console.log = (...data) => consoles.getStore() ? consoles.getStore()!.log(data.join(" ")) : log(...data);
  console.error = (...data) => consoles.getStore() ? consoles.getStore()!.error(data.join(" ")) : error(...data);
  Deno.stderr.writeSync = (bytes) => {
    consoles.getStore()?.error(new TextDecoder().decode(bytes).replace(/\n$/, ""));
    return bytes.length;
  };
  Deno.Command = class {
    constructor(_program: string, readonly options: { args: string[] }) {}
    spawn = () => childOf(child(afterMain(this.options.args)));
  } as unknown as typeof Deno.Command;
  Deno.permissions.revoke = (descriptor) => Deno.permissions.query(descriptor);
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  try {
    return await body();
  } finally {
    Object.assign(console, { log, error });
    Deno.Command = Command;
    delete (Deno.stderr as { writeSync?: unknown }).writeSync;
    Deno.permissions.revoke = revoke;
    for (const name of Object.keys(env)) {
      if (earlier[name] === undefined) Deno.env.delete(name);
      else Deno.env.set(name, earlier[name]);
    }
  }
}

/** What stands after the program of a command line. */
const afterMain = (args: string[]) => args.slice(args.findIndex((arg) => arg.endsWith("/main.ts")) + 1);

/** A process, as far as lib/cli/own_process.ts uses one. */
function childOf(ran: Promise<Ran>) {
  const stream = (of: "stdout" | "stderr") =>
    ReadableStream.from((async function* () {
      yield new TextEncoder().encode((await ran)[of]);
    })());
  return {
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    status: ran.then(({ code }) => ({ code, success: code === 0, signal: null })),
    kill() {},
  };
}
