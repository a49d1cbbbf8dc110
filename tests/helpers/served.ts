/** `ftl serve` as a process of its own, or what stands in for it: started, found on its port, and told to end. */
import assert from "node:assert/strict";

const main = new URL("../../main.ts", import.meta.url).pathname;

export interface ServeOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** The program; default: ftl itself, which is then told to serve. */
  script?: string;
}

/** The process, its output piped. */
export function spawnServe(args: string[], { cwd, env, script }: ServeOptions = {}): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--quiet", ...script ? [script] : [main, "serve"], ...args],
    cwd,
    env: { NO_COLOR: "1", FTL_API_KEY: "", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

export interface Served {
  url: string;
  process: Deno.ChildProcess;
  /** Sends SIGTERM, where it has not ended by itself, and waits for the end. */
  stop(): Promise<{ code: number; stdout: string; stderr: string }>;
}

/** Starts a server and waits until it answers. Fails with its output where it ends instead. */
export async function startServe(args: string[], options: ServeOptions = {}): Promise<Served> {
  const process = spawnServe(args, options);
  const stderr = new Response(process.stderr).text();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let stdout = "";
  const read = async () => {
    const { value, done } = await reader.read();
    stdout += value ?? "";
    return !done;
  };
  while (!/^try .*\n/m.test(stdout)) {
    if (!await read()) assert.fail(`it ended: ${stdout}${await stderr}`);
  }
  const rest = (async () => {
    while (await read());
  })();
  return {
    url: /^page +(\S+)/m.exec(stdout)![1],
    process,
    async stop() {
      try {
        process.kill("SIGTERM");
      } catch { /* It has ended. */ }
      await rest;
      return { code: (await process.status).code, stdout, stderr: await stderr };
    },
  };
}
