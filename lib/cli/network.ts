/**
 * Who may use the network. Deno's permission is given up before a command's code and its dependencies are loaded, except
 * by the commands whose work is to reach out. Others that lack a model or rows have `ftl pull` fetch them, a process of
 * its own (pull.ts). `ftl serve` gives the permission up as soon as it has its address: a listening socket needs none.
 *
 * This holds JavaScript: fetch, sockets, name lookups, remote modules, and workers. It does not hold the native code of
 * ONNX Runtime and Dawn, nor other programs that are started.
 */

/** Gives up the network unless this command line is one that needs it. */
export async function limitNetwork(command: string, args: string[]): Promise<void> {
  const needed = command === "pull" || command === "compare" || command === "serve" ||
    (command === "eval" && args.some((arg) => arg.startsWith("--judge")));
  if (!needed) await dropNetwork();
}

/** From here on no JavaScript of this process, and of workers it starts later, reaches the network or listens. */
export async function dropNetwork(): Promise<void> {
  await Deno.permissions.revoke({ name: "net" });
  await Deno.permissions.revoke({ name: "import" });
}
