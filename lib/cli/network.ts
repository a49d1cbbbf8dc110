/**
 * Who may use the network. Deno's permission is given up before a command's code and its dependencies are loaded, except
 * by the commands whose work is to reach out. Others that lack a model or rows have `ftl pull` fetch them, a process of
 * its own (pull.ts). `ftl serve` first takes its address: a listening socket needs no permission afterwards.
 *
 * This holds JavaScript: fetch, sockets, name lookups, remote modules, and workers. It does not hold the native code of
 * ONNX Runtime and Dawn, nor other programs that are started. Imports no dependency.
 */
import { type Address, type Listener, openListener } from "../serve/listen.ts";
import { processorEnergy } from "./energy.ts";
import { mayHaveGpu } from "./engine.ts";
import { cgroupLimit, processor } from "./machine.ts";
import { servingOptions } from "./serving_options.ts";

/** What `ftl serve` listens on, once it does. */
let taken: { address: Address; listener: Listener } | undefined;

/** Gives up the network unless this command line is one that needs it. Errors: UserError for an address not to be had. */
export async function limitNetwork(command: string, args: string[]): Promise<void> {
  if (command === "pull" || command === "compare") return;
  if (command === "eval" && args.some((arg) => arg.startsWith("--judge"))) return;
  const address = command === "serve" ? addressIn(args) : undefined;
  if (address) taken = { address, listener: openListener(address) };
  askSystem(command);
  await dropNetwork();
}

/** What the system tells only a program that has all rights, and remembers (system_files.ts). */
function askSystem(command: string): void {
  mayHaveGpu();
  cgroupLimit();
  if (command === "doctor") processor();
  if (command === "experiment") processorEnergy().close();
}

/** From here on no JavaScript of this process, and of workers it starts later, reaches the network or listens. */
export async function dropNetwork(): Promise<void> {
  await Deno.permissions.revoke({ name: "net" });
  await Deno.permissions.revoke({ name: "import" });
}

/** The listener at this address, where it was taken. */
export function takenAddress({ host, port }: Address): Listener | undefined {
  return taken?.address.host === host && taken.address.port === port ? taken.listener : undefined;
}

/** The address that a command line of `ftl serve` names; none where it only asks for help or its port is no number. */
export function addressIn(args: string[]): Address | undefined {
  if (args.some((arg) => arg === "--help" || arg === "-h")) return undefined;
  const last = (flag: string) =>
    args.flatMap((arg, i) =>
      arg === flag ? args.slice(i + 1, i + 2) : arg.startsWith(`${flag}=`) ? [arg.slice(flag.length + 1)] : []
    ).at(-1);
  const { host, port } = servingOptions, given = Number(last("--port") ?? port.default);
  if (!Number.isInteger(given) || given < port.min || given > port.max) return undefined;
  return { host: last("--host") ?? host.default, port: given };
}
