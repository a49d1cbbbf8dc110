/** Trainings that a test interrupts: what they have in common, and what must be the same however they came to their end. */
import assert from "node:assert/strict";
import { lockFolder } from "../../lib/files/lock.ts";
import { readLog } from "../../lib/train/log.ts";
import type { Workplace } from "./ftl.ts";

/** Thirty steps of a tiny model, with dropout, so that every random number must be gone on with. */
export const thirtySteps = [
  ...["train", "-m", "model", "-d", "rows.jsonl", "-s", "30", "-b", "2", "-g", "1", "--threads", "1"],
  ...["--engine", "onnx", "--lora-dropout", "0.1", "--questions", "0"],
];

/** A step each, long enough to be met in its middle. */
export function longSteps({ write }: Workplace): string[] {
  const row = (i: number) => ({
    instruction: `What is ${i}?`,
    output: `It is ${i * i}, as everybody knows. `.repeat(9),
  });
  write("many.jsonl", Array.from({ length: 48 }, (_, i) => JSON.stringify(row(i)) + "\n").join(""));
  return [
    ...["train", "-m", "model", "-d", "many.jsonl", "-s", "4", "-b", "2", "-g", "24", "--threads", "1"],
    ...["--engine", "onnx", "--save-steps", "1", "--questions", "0"],
  ];
}

/** What a run comes to: the bytes of its adapter, and its log without what another run cannot repeat. */
export function outcomeOf(folder: string): unknown {
  return {
    adapter: Deno.readFileSync(`${folder}/adapter/adapter_model.safetensors`),
    log: readLog(`${folder}/log.jsonl`).map((line) => ({ ...line, seconds: 0, memory_bytes: 0 })),
  };
}

/** Steps in a log that is being written. */
export function stepsOf(folder: string): number {
  try {
    return readLog(`${folder}/log.jsonl`).length;
  } catch {
    return 0;
  }
}

/** Waits until something is so; an error after two minutes. */
export async function until(isSo: () => boolean, what: string): Promise<void> {
  for (const begun = performance.now(); !isSo();) {
    if (performance.now() - begun > 120_000) assert.fail(`two minutes went by before ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Whether no process holds a run's folder any more. */
export function isFree(folder: string): boolean {
  try {
    lockFolder(folder).release();
    return true;
  } catch {
    return false;
  }
}
