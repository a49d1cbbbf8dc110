/**
 * Many clients of `ftl serve` with a real model for some minutes: one in five leaves in the middle, one in ten sends
 * nonsense (tests/helpers/load.ts). Prints the server's memory as it goes and what came of it; exit code 1 where anything
 * was wrong that is not the clients' own doing.
 *
 *   deno run -A tests/bench/serve_load.ts [--model smollm2-135m] [--clients 64] [--minutes 10] [--parallel 8]
 *     [--max-queue 40]
 */
import { parseArgs } from "node:util";
import { type Look, runLoad } from "../helpers/load.ts";
import { startServe } from "../helpers/served.ts";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m" },
    clients: { type: "string", default: "64" },
    minutes: { type: "string", default: "10" },
    parallel: { type: "string", default: "8" },
    "max-queue": { type: "string", default: "40" },
  },
});
const seconds = Number(flags.minutes) * 60, clients = Number(flags.clients);
const server = await startServe([
  ...[flags.model, "--port", "0", "--engine", "onnx", "--context", "2048", "--parallel", flags.parallel],
  ...["--max-queue", flags["max-queue"]],
]);
const { counts, problems, looks, tokens, left } = await runLoad({
  ...{ url: server.url, pid: server.process.pid, clients, seconds, every: Math.min(60, seconds / 10) },
  onLook: ({ seconds, resident, running, waiting, answered }) =>
    console.log(`${seconds} s: ${resident} MiB, ${running} answering, ${waiting} waiting, ${answered} answered`),
});
const { code, stderr } = await server.stop();

/** MiB a minute over the second half: least squares. */
function slope(all: Look[]): number {
  const half = all.slice(all.length >> 1), mean = (of: number[]) => of.reduce((a, b) => a + b, 0) / of.length;
  const x = half.map(({ seconds }) => seconds / 60),
    y = half.map(({ resident }) => resident),
    [mx, my] = [x, y].map(mean);
  const up = x.reduce((sum, value, i) => sum + (value - mx) * (y[i] - my), 0);
  return up / x.reduce((sum, value) => sum + (value - mx) ** 2, 0);
}

for (const [what, count] of [...counts].sort()) console.log(`${String(count).padStart(6)}  ${what}`);
console.log(
  `${tokens} tokens of complete answers, ${(tokens / seconds).toFixed(0)} a second; memory in the second half ${
    slope(looks).toFixed(1)
  } MiB a minute; at the end ${left.running} answering, ${left.waiting} waiting, exit code ${code}`,
);
if (stderr !== "") console.log(`the server said: ${stderr.slice(0, 2000)}`);
for (const problem of problems) console.log(`wrong: ${problem}`);
Deno.exitCode = problems.length === 0 && code === 0 && stderr === "" && left.running + left.waiting === 0 ? 0 : 1;
