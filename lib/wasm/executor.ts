/**
 * The WASM executor: answers on the CPU, with frozen weights in 4-bit NF4 (or in 8-bit blocks, or f32) as they lie in
 * memory. Each segment becomes one list of kernel calls that all threads work through; a list is made for every new shape
 * of inputs and kept. A token's result depends neither on the tokens beside it nor on the number of threads.
 */
import { type FixedInputs, makeFixedInputs } from "../fixed_inputs.ts";
import type { Executor, Segment, Value } from "../ops.ts";
import { type List, makeList, type Place, type Temporaries } from "./list.ts";
import { sharedMemory } from "./memory.ts";
import { numbers, numbersAt } from "./module.ts";
import { type Call, type Node, recordingOps } from "./record.ts";
import { startThreads } from "./threads.ts";
import { nf4Tables, nf4TablesAt, wasmWeight, writtenAsIntegers } from "./weight.ts";

interface Held extends Value {
  address: number;
  /** Of weights in blocks. */
  scales?: number;
  /** What a list depends on: form and shape. */
  signature: string;
  form?: Node["form"];
  /** Of weights in NF4: makes them in f32, once, when many rows meet them first. */
  written?: () => Float32Array;
  many?: unknown;
}

interface Kept extends List {
  address: number;
  /** The words where they lie. */
  live: Int32Array;
  shapes: Record<string, readonly number[]>;
}

export interface WasmOptions {
  /** Default: as many as the machine has cores. */
  threads?: number;
  /** Multiplies many rows, where somebody does it faster (lib/onnx/product.ts); weights are then held in f32 as well. */
  manyRows?: ManyRows<unknown>;
  /** From how many rows on; default 128: what fewer save does not pay for writing the weights out. */
  many?: number;
}

interface Floats {
  data: Float32Array;
  shape: readonly number[];
}

/** y = x * W^T for many rows, W being what `weight` has made. */
export interface ManyRows<W> {
  weight(data: Float32Array, shape: readonly number[]): W;
  multiply(x: Floats, weight: W, y: Floats): Promise<void>;
  close(): void;
}

/** Lists kept: those of the last so many shapes. */
const mostLists = 64;

export interface WasmExecutor extends Executor {
  /** Bytes that are left of its memory. */
  room(): number;
}

export async function createWasmExecutor(options: WasmOptions = {}): Promise<WasmExecutor> {
  const count = options.threads || navigator.hardwareConcurrency;
  const shared = sharedMemory(count);
  const tables = nf4Tables();
  shared.bytes(nf4TablesAt, tables.length).set(tables);
  shared.floats(numbersAt, numbers.length).set(numbers);
  const threads = await startThreads(shared.memory, count);
  const lists = new Map<string, Kept>(), fixedOf = makeFixedInputs<Held>(), nothing = {};
  const temporaries = makeTemporaries(shared);

  const hold = (address: number, shape: readonly number[], more: Pick<Held, "scales" | "form"> = {}): Held => (
    { address, shape, ...more, signature: `${more.form ?? ""}${shape}` }
  );
  function copied(data: Float32Array | Int32Array | Uint8Array | Int8Array): number {
    const address = shared.allocate(data.byteLength);
    shared.bytes(address, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return address;
  }
  const floats = (value: Value) => shared.floats((value as Held).address, size(value.shape));

  function record(segment: Segment, inputs: Record<string, Held>): Kept {
    const calls: Call[] = [], nodes: Record<string, Node> = {};
    for (const [input, { shape, form }] of Object.entries(inputs)) {
      nodes[input] = { input, shape, form, bytes: 4 * size(shape) };
    }
    const ops = recordingOps(calls, { manyRows: options.manyRows && (options.many ?? 128) });
    const made = segment.build(ops, nodes), outputs = new Map<Node, string>();
    const shapes: Kept["shapes"] = {};
    for (const [name, node] of Object.entries(made)) {
      if (node.input !== undefined || outputs.has(node)) {
        throw new Error(`${segment.key}: ${name} has no place of its own`);
      }
      outputs.set(node, name);
      shapes[name] = node.shape;
    }
    const words = calls.reduce((sum, { words }) => sum + words.length + 7, 3), address = shared.allocate(4 * words);
    const list = makeList(calls, { at: address, outputs, temporaries });
    const live = shared.integers(address, list.words.length);
    live.set(list.words);
    return { ...list, address, live, shapes };
  }

  function listFor(segment: Segment, inputs: Record<string, Held>, fixed: FixedInputs<Held>): Kept {
    let key = `${segment.key}|${fixed.signature}`;
    for (const name in inputs) key += `|${name}:${inputs[name].signature}`;
    let list = lists.get(key);
    if (list) lists.delete(key);
    else list = record(segment, { ...fixed.values, ...inputs });
    lists.set(key, list);
    if (lists.size > mostLists) {
      const [oldest] = lists.keys();
      shared.free(lists.get(oldest)!.address);
      lists.delete(oldest);
    }
    return list;
  }

  return {
    description: `WebAssembly, ${count} ${count === 1 ? "thread" : "threads"}`,
    paddedAttention: false,
    largeSegments: true,
    promptsThroughCache: true,
    tensor: (data, shape) => hold(copied(data), shape),
    cache: (shape) => hold(shared.allocate(4 * size(shape)), shape),
    weight(data) {
      const made = wasmWeight(data), { shape } = data, form = made.kind;
      if (form === "f32") return hold(copied(made.data), shape, { form });
      const held = hold(copied(made.codes), shape, { form, scales: copied(made.scales) });
      if (data.kind === "nf4" && options.manyRows) held.written = () => writtenAsIntegers(data);
      return held;
    },
    async run(segment, inputs, into = {}) {
      const given = inputs as Record<string, Held>, fixed = fixedOf(segment.fixed ?? nothing);
      const list = listFor(segment, given, fixed), valueOf = (name: string) => given[name] ?? fixed.values[name];
      const outputs: Record<string, Held> = {};
      for (const name in list.shapes) {
        const shape = list.shapes[name];
        outputs[name] = into[name] as Held | undefined ?? hold(shared.allocate(4 * size(shape)), shape);
      }
      const { live } = list;
      for (const { word, name, scales } of list.inputs) {
        live[word] = scales ? valueOf(name).scales! : valueOf(name).address;
      }
      for (const { word, name } of list.outputs) live[word] = outputs[name].address;
      const floatsAt = (place: Place, shape: readonly number[]): Floats => {
        const address = "address" in place
          ? place.address
          : "input" in place
          ? valueOf(place.input).address
          : outputs[place.output].address;
        return { data: shared.floats(address, size(shape)), shape };
      };
      for (const step of list.steps) {
        if ("from" in step) threads.run(list.address + 4 * step.from);
        else {
          const weight = valueOf(step.weight), [O, I] = weight.shape, { rows } = step;
          weight.many ??= options.manyRows!.weight(weight.written!(), weight.shape);
          weight.written = undefined;
          await options.manyRows!.multiply(floatsAt(step.x, [rows, I]), weight.many, floatsAt(step.y, [rows, O]));
        }
      }
      return outputs;
    },
    read: (value) => Promise.resolve(floats(value)),
    readAll: (values) => Promise.resolve(values.map(floats)),
    write: (value, data) => floats(value).set(data),
    accumulate(into, from) {
      const sum = floats(into), added = floats(from);
      for (let i = 0; i < sum.length; i++) sum[i] += added[i];
    },
    storeRows(table, rows, index) {
      const to = floats(table), from = floats(rows), width = rows.shape[1];
      shared.integers((index as Held).address, index.shape[0]).forEach((row, n) =>
        to.set(from.subarray(n * width, (n + 1) * width), row * width)
      );
    },
    release(...values) {
      for (const { address, scales } of values as Held[]) {
        shared.free(address);
        if (scales !== undefined) shared.free(scales);
      }
    },
    trim() {
      for (const { address } of lists.values()) shared.free(address);
      lists.clear();
      temporaries.trim();
    },
    room: shared.room,
    dispose() {
      threads.stop();
      options.manyRows?.close();
      return Promise.resolve();
    },
  };
}

/** Places for what lives within a list only: all lists use the same, one after the other. */
function makeTemporaries(shared: Pick<ReturnType<typeof sharedMemory>, "allocate" | "free">) {
  const free: { address: number; bytes: number }[] = [], taken = new Map<number, number>();
  return {
    take(bytes: number): number {
      const at = free.reduce(
        (best, place, i) => place.bytes >= bytes && !(free[best]?.bytes <= place.bytes) ? i : best,
        -1,
      );
      const place = at < 0 ? { address: shared.allocate(bytes), bytes } : free.splice(at, 1)[0];
      taken.set(place.address, place.bytes);
      return place.address;
    },
    give(address: number): void {
      free.push({ address, bytes: taken.get(address)! });
      taken.delete(address);
    },
    trim(): void {
      for (const { address } of free.splice(0)) shared.free(address);
    },
  } satisfies Temporaries & { trim(): void };
}

function size(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
