/**
 * Recorded calls as the words of a list that the threads work through (run.wat): where every value lies, and where the
 * threads have to wait for each other.
 */
import { type Kernel, kernels } from "./module.ts";
import type { Call, Node, Word } from "./record.ts";

/** A word to be filled in before a run: the address of an input or output, or of a weight's scales. */
export interface Hole {
  word: number;
  name: string;
  scales: boolean;
}

/** Where a value lies: an address, or that of an input or output by name. */
export type Place = { address: number } | { input: string } | { output: string };

/** What is done in turn: the threads work through the list from a word on, or others multiply (record.ts, many_rows). */
export type Step = { from: number } | { x: Place; weight: string; y: Place; rows: number };

export interface List {
  words: Int32Array;
  steps: Step[];
  inputs: Hole[];
  outputs: Hole[];
}

export interface Temporaries {
  /** The address of a place of so many bytes, and its end of use. */
  take(bytes: number): number;
  give(address: number): void;
}

const float = new Float32Array(1), bits = new Int32Array(float.buffer);

/** `at`: where the list will lie. `outputs`: the segment's, by name. */
export function makeList(
  calls: Call[],
  { at, outputs, temporaries }: { at: number; outputs: Map<Node, string>; temporaries: Temporaries },
): List {
  const words: number[] = [], holes: Pick<List, "inputs" | "outputs"> = { inputs: [], outputs: [] };
  const steps: Step[] = [];
  /** Where the words of the list that is being written begin. */
  let begun = 0;
  const lastUse = new Map<Node, number>(), placed = new Map<Node, number>();
  calls.forEach(({ reads, writes }, i) => [...reads, ...writes].forEach((node) => lastUse.set(node, i)));
  const since = makeHazards(), barrier = [kernels.indexOf("barrier"), 2];

  for (const [i, { kernel, words: args, reads, writes }] of calls.entries()) {
    for (const node of writes) {
      if (node.input === undefined && !outputs.has(node)) placed.set(node, temporaries.take(node.bytes));
    }
    const placeOf = (node: Node): Place =>
      node.input !== undefined
        ? { input: node.input }
        : placed.has(node)
        ? { address: placed.get(node)! }
        : { output: outputs.get(node)! };
    const place = (node: Node): number | string => node.input ?? placed.get(node) ?? `output ${outputs.get(node)}`;
    const waits = since.conflict(reads.map(place), writes.map(place));
    if (kernel === "many_rows") {
      finish();
      const [x, weight, y] = args.map((arg) => (arg as { of: Node }).of);
      steps.push({ x: placeOf(x), weight: weight.input!, y: placeOf(y), rows: x.shape[0] });
    } else write(kernel, args, waits);
    for (const node of new Set([...reads, ...writes])) {
      if (lastUse.get(node) === i && placed.has(node)) temporaries.give(placed.get(node)!);
    }
  }
  finish();
  return { ...holes, words: Int32Array.from(words), steps };

  function write(kernel: Kernel, args: Word[], waits: boolean): void {
    if (waits && words.length > begun) words.push(...barrier);
    words.push(kernels.indexOf(kernel), args.length + 2);
    const first = words.length;
    for (const arg of args) {
      if (typeof arg === "number") words.push(arg);
      else if ("float" in arg) {
        float[0] = arg.float;
        words.push(bits[0]);
      } else if ("word" in arg) words.push(at + 4 * (first + arg.word));
      else {
        const { of, scales = false } = arg, hole = { word: words.length, scales };
        if (of.input !== undefined) holes.inputs.push({ ...hole, name: of.input });
        else if (outputs.has(of)) holes.outputs.push({ ...hole, name: outputs.get(of)! });
        words.push(placed.get(of) ?? 0);
      }
    }
  }

  /** Ends the list that is being written: all threads are done with it then. */
  function finish(): void {
    if (words.length > begun) {
      words.push(...barrier, -1);
      steps.push({ from: begun });
    }
    begun = words.length;
  }
}

/** What was read and written since the last barrier: a call that would meet it must wait. */
function makeHazards() {
  const read = new Set<number | string>(), written = new Set<number | string>();
  return {
    /** Whether a barrier comes before a call that reads and writes these. */
    conflict(reads: (number | string)[], writes: (number | string)[]): boolean {
      const found = reads.some((place) => written.has(place)) ||
        writes.some((place) => written.has(place) || read.has(place));
      if (found) {
        read.clear();
        written.clear();
      }
      reads.forEach((place) => read.add(place));
      writes.forEach((place) => written.add(place));
      return found;
    },
  };
}
