/**
 * What `ftl plan` says of memory, and of time, against what `ftl train` then takes, on the CPU: two steps of each
 * configuration with random weights of a real model's shape, in a process of its own.
 *
 *   deno run -A tests/bench/plan_memory.ts [--keep FOLDER] [NUMBER ...]
 *
 * Checkpoints (up to 14 GB) are made in a temporary folder and removed, one after the other; --keep leaves them in a
 * folder for the next time. Numbers choose configurations.
 */
import { parseArgs } from "node:util";
import { type Planned, plannedAndMeasured } from "../helpers/planned_run.ts";

const configurations: Planned[] = [
  { shape: "smollm2-135m", rows: 8, length: 96, flags: ["-b", "2", "-g", "4", "--max-memory", "1"] },
  { shape: "smollm2-135m", rows: 2, length: 1024, flags: ["-b", "2", "-g", "1", "--gradient-checkpointing", "true"] },
  { shape: "smollm2-360m", rows: 4, length: 256, flags: ["-b", "4", "-g", "1", "-r", "64", "--max-memory", "20"] },
  { shape: "qwen2.5-0.5b", rows: 2, length: 512, flags: ["-b", "2", "-g", "1", "--max-memory", "20"] },
  { shape: "tinyllama-1.1b", rows: 4, length: 128, flags: ["-b", "2", "-g", "2", "--optim", "adamw_torch"] },
  { shape: "llama-3.2-1b", rows: 2, length: 384, flags: ["-b", "1", "-g", "2", "--max-memory", "4"] },
  { shape: "llama-3.2-3b", rows: 2, length: 64, flags: ["-b", "2", "-g", "1", "-r", "8", "--max-memory", "20"] },
  { shape: "llama-2-7b", rows: 2, length: 128, flags: ["-b", "2", "-g", "1", "--max-memory", "8"] },
];

const { values: { keep }, positionals } = parseArgs({ options: { keep: { type: "string" } }, allowPositionals: true });
const chosen = positionals.length > 0 ? positionals.map((n) => configurations[Number(n) - 1]) : configurations;

console.log(
  "shape           rows x length  flags  |  planned GiB  measured GiB  ratio  |  planned s a step  measured s",
);
for (const configuration of chosen) {
  const { planned, measured, parts } = await plannedAndMeasured(configuration, { keep });
  const { shape, rows, length, flags } = configuration, gib = (bytes: number) => (bytes / 2 ** 30).toFixed(2);
  console.log(
    `${shape}  ${rows} x ${length}  ${flags.join(" ")}  |  ${gib(planned.bytes)}  ${gib(measured.bytes)}  ${
      (planned.bytes / measured.bytes).toFixed(2)
    }  |  ${planned.seconds.toFixed(2)}  ${measured.seconds.toFixed(2)}  |  ${
      Object.entries(parts).map(([name, bytes]) => `${name} ${gib(bytes)}`).join(", ")
    }`,
  );
}
