/**
 * The WebGPU executor: a segment is recorded and lowered once for each set of input shapes, and then encoded for every
 * layer and batch. `run` only encodes; the GPU works while the next segments are encoded, and the program waits where
 * something is read. After a batch with the most tokens nothing is allocated for others, whatever their length.
 */
import { UserError } from "../errors.ts";
import type { Executor, Segment, Value, WeightData } from "../ops.ts";
import { type Buffers, makeBuffers, roomOf } from "./buffers.ts";
import { type Commands, type Encoded, type GpuTensor, makeCommands, tensorBytes } from "./commands.ts";
import { type Gpu, kernelTarget } from "./device.ts";
import { type Dispatch, type Dtype, elements, type KernelTarget } from "./dispatch.ts";
import { addInPlace, cast, dropoutMask, scatterRows } from "./elementwise_kernels.ts";
import { type FixedInputs, makeFixedInputs } from "../fixed_inputs.ts";
import { joinDispatches } from "./join.ts";
import { type InputInfo, lower, type Virtual } from "./lower.ts";
import { packedShape, packRows, unpackRows } from "./pack_kernels.ts";
import { makeProfile, type Profile } from "./profile.ts";
import type { Weight } from "./products.ts";
import { neededNodes, type Node, type Recorded, recordingOps } from "./record.ts";
import { sample, sampleSettings, settingWords } from "./sampling_kernels.ts";
import { planTemporaries } from "./temporaries.ts";
import { placeWeight } from "./weight.ts";

/** A value in GPU memory. */
export interface GpuValue extends Value {
  tensor: GpuTensor;
  /** Belongs to the executor, which takes it back by `release`. */
  pooled: boolean;
  /** Made from host data and kept: worth an f16 copy. */
  persistent: boolean;
  /** f16 copy for products. */
  half?: GpuTensor;
  weight?: Weight;
  /** Parts of a weight by "field.part". */
  parts?: Map<string, GpuTensor>;
  /** Names everything about the value that lowering depends on. */
  signature: string;
}

export interface WebgpuOptions {
  /** Operands of products and stored activations in f16; default: where the device has it. */
  half?: boolean;
  /** Take times of every dispatch. */
  profile?: boolean;
  /** Largest binding, to try splitting; default: the device's. */
  maxBinding?: number;
}

export interface WebgpuExecutor extends Executor {
  gpu: Gpu;
  commands: Commands;
  target: KernelTarget;
  buffers: Buffers;
  profile?: Profile;
  /** A value over memory that belongs to somebody else. */
  view(tensor: GpuTensor, half?: GpuTensor): GpuValue;
  /** A tensor of its own, with data or not. */
  allocate(shape: readonly number[], dtype: Dtype): GpuTensor;
}

interface Compiled {
  dispatches: Dispatch<Virtual>[];
  /** Made anew where the commands' epoch is another. */
  encoded: Encoded[];
  epoch: number;
  outputs: { name: string; tensor: Virtual; bytes: number; purpose: string }[];
  slots: { bytes: number; purpose: string }[];
  /** Slot of each temporary. */
  slotOf: Map<number, number>;
  /** Inputs, besides fixed ones, of which the f16 copy is read. */
  halves: string[];
  /** Bind groups of all dispatches, by the buffers of a run. */
  groups: Map<string, GPUBindGroup[]>;
}

/** Runs of a segment whose bind groups are kept: two batches of a large model, and more of a small one. */
const mostGroups = 256;

function placeOf({ buffer, offset }: GpuTensor): string {
  return `${buffer.id}:${offset}`;
}

export function createWebgpuExecutor(gpu: Gpu, options: WebgpuOptions = {}): WebgpuExecutor {
  const profile = options.profile && gpu.timestamps ? makeProfile(gpu) : undefined;
  const commands = makeCommands(gpu, { profile }), buffers = makeBuffers(gpu, commands);
  const f16 = options.half ?? gpu.f16;
  const most = kernelTarget(gpu);
  const target: KernelTarget = {
    f16,
    matrix: most.matrix && f16,
    unroll: most.unroll,
    maxBinding: Math.min(options.maxBinding ?? Infinity, most.maxBinding),
  };
  const compiled = new Map<string, Promise<Compiled>>();
  const fixedOf = makeFixedInputs<GpuValue>();
  let scratch: GpuTensor | undefined, largestWeight = 0;

  /** `purpose`: see buffers.ts. */
  function allocate(
    shape: readonly number[],
    dtype: Dtype,
    { bytes = tensorBytes(shape, dtype), purpose }: { bytes?: number; purpose?: string } = {},
  ): GpuTensor {
    const buffer = purpose === undefined ? buffers.take(bytes) : buffers.takeFor(purpose, bytes);
    return { shape, dtype, buffer, offset: 0, bytes: roomOf(buffer) };
  }

  function hold(tensor: GpuTensor, rest: Partial<GpuValue> = {}): GpuValue {
    const { shape, dtype } = tensor;
    const value: GpuValue = { shape, tensor, pooled: false, persistent: false, signature: "", ...rest };
    const { weight } = value;
    value.signature = `${shape}:${dtype}${value.persistent ? "p" : ""}` +
      (weight ? `${weight.kind}${weight.rows}${weight.kind === "nf4" ? `${weight.double}${weight.offset}` : ""}` : "");
    return value;
  }

  async function compile(segment: Segment, values: Record<string, GpuValue>, key: string): Promise<Compiled> {
    const nodes: Node[] = [], recorded: Record<string, Recorded> = {}, inputs: Record<string, InputInfo> = {};
    for (const [name, { shape, tensor: { dtype }, persistent, weight }] of Object.entries(values)) {
      recorded[name] = { shape, input: name };
      inputs[name] = { shape, dtype, persistent, weight };
    }
    const outputs = segment.build(recordingOps(nodes), recorded);
    const lowered = lower(neededNodes(nodes, Object.values(outputs)), {
      ...{ target, inputs, outputs, consumes: segment.consumes },
    });
    const dispatches = joinDispatches(lowered.dispatches, gpu.limits.maxStorageBuffersPerShaderStage);
    const { slots, slotOf } = planTemporaries(dispatches, ({ shape, dtype }) => tensorBytes(shape, dtype));
    const halves = new Set<string>(), kind = `${segment.key}|${Object.keys(values)}`;
    for (const { tensors } of dispatches) {
      for (const tensor of tensors) {
        if (tensor && "input" in tensor.place && tensor.place.field === "half") halves.add(tensor.place.input);
        if (tensor && "shared" in tensor.place) {
          largestWeight = Math.max(largestWeight, tensorBytes(tensor.shape, tensor.dtype));
        }
      }
    }
    try {
      await commands.pipelines.prepare(dispatches);
    } catch (error) {
      await gpu.explain();
      throw error instanceof UserError ? error : new Error(`${key}: ${(error as Error).message}`, { cause: error });
    }
    return {
      dispatches,
      ...{ encoded: [], epoch: -1 },
      outputs: Array.from(lowered.outputs, ([name, tensor]) => {
        return { name, tensor, bytes: tensorBytes(tensor.shape, tensor.dtype), purpose: `${kind}|${name}` };
      }),
      slots: slots.map((bytes, i) => ({ bytes, purpose: `${kind}|${i}` })),
      slotOf,
      halves: [...halves].filter((name) => !segment.fixed || !(name in segment.fixed)),
      groups: new Map(),
    };
  }

  /** An f16 copy that stays with the value. */
  function halfOf(value: GpuValue): GpuTensor {
    if (!value.half) {
      value.half = allocate(value.shape, "f16");
      commands.dispatch(cast(value.tensor, value.half));
    }
    return value.half;
  }

  function scratchForWeights(): GpuTensor {
    if (!scratch || scratch.bytes < largestWeight) {
      commands.flush();
      if (scratch) buffers.give(scratch.buffer);
      scratch = allocate([largestWeight / 2], "f16", { bytes: largestWeight });
    }
    return scratch;
  }

  function locate(place: Virtual["place"], run: {
    input: (name: string) => GpuValue;
    outputs: Record<string, GpuValue>;
    temps: GpuTensor[];
    compiled: Compiled;
  }): GpuTensor {
    if ("temp" in place) return run.temps[run.compiled.slotOf.get(place.temp)!];
    if ("output" in place) return run.outputs[place.output].tensor;
    if ("shared" in place) return scratchForWeights();
    const value = run.input(place.input);
    if (place.field === undefined) return value.tensor;
    if (place.field === "half") return halfOf(value);
    return value.parts!.get(`${place.field}.${place.part}`)!;
  }

  /** Places of parameters, which commands may have given to others. */
  function prepared(found: Compiled): Encoded[] {
    while (found.epoch !== commands.epoch()) {
      found.epoch = commands.epoch();
      found.encoded = found.dispatches.map((dispatch) => commands.prepare(dispatch));
      found.groups.clear();
    }
    return found.encoded;
  }

  /** Bind groups of a run's dispatches, found by the buffers that the run works on: fixed ones by one number. */
  function groupsOf(
    found: Compiled,
    run: Parameters<typeof locate>[1],
    { fixed, own }: { fixed?: FixedInputs<GpuValue>; own: Record<string, GpuValue> },
  ): GPUBindGroup[] {
    const encoded = prepared(found);
    let key = fixed ? `${fixed.id}|` : "";
    for (const name in own) key += `${placeOf(own[name].tensor)},`;
    for (const name of found.halves) key += `${placeOf(halfOf(own[name]))},`;
    for (const name in run.outputs) key += `${placeOf(run.outputs[name].tensor)},`;
    for (const temp of run.temps) key += `${placeOf(temp)},`;
    // Scratch for weights may have been made anew, larger.
    if (scratch) key += placeOf(scratch);
    let groups = found.groups.get(key);
    if (!groups) {
      groups = found.dispatches.map(({ tensors }, i) =>
        commands.groupOf(encoded[i], tensors.map((tensor) => tensor && locate(tensor.place, run)))
      );
      if (found.groups.size >= mostGroups) found.groups.clear();
      found.groups.set(key, groups);
    }
    return groups;
  }

  async function run(
    segment: Segment,
    inputs: Record<string, Value>,
    into: Record<string, Value> = {},
  ): Promise<Record<string, Value>> {
    const own = inputs as Record<string, GpuValue>, fixed = segment.fixed && fixedOf(segment.fixed);
    let key = segment.key;
    if (fixed) key += `|${fixed.signature}`;
    for (const name in own) key += `|${name}:${own[name].signature}`;
    let promise = compiled.get(key);
    if (!promise) compiled.set(key, promise = compile(segment, { ...fixed?.values, ...own }, segment.key));
    const found = await promise;
    const outputs: Record<string, GpuValue> = {};
    for (const { name, tensor: { shape, dtype }, bytes, purpose } of found.outputs) {
      outputs[name] = into[name] as GpuValue ?? hold(allocate(shape, dtype, { bytes, purpose }), { pooled: true });
    }
    const temps = found.slots.map(({ bytes, purpose }) => allocate([bytes / 4], "f32", { bytes, purpose }));
    const input = (name: string) => own[name] ?? fixed!.values[name];
    const groups = groupsOf(found, { input, outputs, temps, compiled: found }, { fixed, own });
    found.dispatches.forEach((dispatch, i) => commands.encode(found.encoded[i], dispatch, groups[i]));
    // Given back at once: what is encoded later runs later.
    for (const { buffer } of temps) buffers.give(buffer);
    return outputs;
  }

  async function readAll(values: Value[]): Promise<Float32Array[]> {
    const tensors = (values as GpuValue[]).map(({ tensor }) => tensor);
    const results = await commands.read(
      tensors.map((tensor) => ({ ...tensor, bytes: tensorBytes(tensor.shape, tensor.dtype) })),
    );
    return results.map((buffer, i) => {
      const count = elements(tensors[i].shape);
      return tensors[i].dtype === "f16"
        ? Float32Array.from(new Float16Array(buffer, 0, count))
        : new Float32Array(buffer, 0, count);
    });
  }

  function pack(x: Value): Value {
    const { tensor } = x as GpuValue, packed = allocate(packedShape(tensor), "f16", { purpose: "pack" });
    commands.dispatch(packRows(tensor, packed));
    return hold({ ...packed, shape: x.shape }, { pooled: true });
  }

  function unpack({ shape, ...packed }: Value): Value {
    const { tensor } = packed as GpuValue, x = allocate(shape, "f32", { purpose: "unpack" });
    commands.dispatch(unpackRows(tensor, x));
    return hold(x, { pooled: true });
  }

  return {
    ...{ gpu, commands, target, buffers, profile, run, readAll, allocate },
    description: `${gpu.engine === "dawn" ? "WebGPU (Dawn)" : "WebGPU"} on ${gpu.name}, ${f16 ? "f16" : "f32"}` +
      (target.matrix ? ", tensor cores" : ""),
    paddedAttention: false,
    largeSegments: false,
    promptsThroughCache: false,
    view: (tensor, half) => hold(tensor, { persistent: half !== undefined, half }),
    tensor(data, shape, purpose) {
      const tensor = allocate(shape, data instanceof Float32Array ? "f32" : "i32", { purpose });
      commands.write(tensor, data);
      return hold(tensor, { persistent: data instanceof Float32Array && shape.length === 2, pooled: true });
    },
    dropoutMask(mask, shape) {
      const tensor = allocate(shape, "f32", { purpose: `dropout|${shape[1]}` });
      commands.dispatch(dropoutMask(tensor, mask));
      return hold(tensor, { pooled: true });
    },
    weight(data: WeightData): Value {
      const { weight, parts, dtype, first } = placeWeight(data, { target, allocate, commands });
      return hold({ ...first, shape: data.shape, dtype }, { weight, parts, persistent: true });
    },
    read: async (value) => (await readAll([value]))[0],
    write(value, data) {
      const held = value as GpuValue;
      commands.write(held.tensor, data);
      if (held.half) commands.dispatch(cast(held.tensor, held.half));
    },
    accumulate(into, from) {
      commands.dispatch(addInPlace((from as GpuValue).tensor, (into as GpuValue).tensor));
    },
    storeRows(table, rows, index) {
      const { tensor } = table as GpuValue, { shape } = tensor;
      const flat = { ...tensor, shape: [elements(shape.slice(0, -1)), shape[shape.length - 1]] };
      commands.dispatch(scatterRows((rows as GpuValue).tensor, (index as GpuValue).tensor, flat));
    },
    ...f16 ? { pack, unpack } : {},
    cache: (shape) => hold(allocate(shape, f16 ? "f16" : "f32"), { pooled: true }),
    chooseTokens(logits, options) {
      const [B, V] = logits.shape, tensor = allocate([B], "i32"), settings = allocate([B, settingWords], "u32");
      commands.write(settings, sampleSettings(options, V));
      commands.dispatch(sample((logits as GpuValue).tensor, settings, tensor));
      buffers.give(settings.buffer);
      const numbers = commands.read([{ ...tensor, bytes: tensorBytes(tensor.shape, "i32") }])
        .then(([buffer]) => new Int32Array(buffer, 0, B));
      return { tokens: hold(tensor, { pooled: true }), numbers };
    },
    release(...values) {
      for (const { pooled, tensor, half } of values as GpuValue[]) {
        if (!pooled) continue;
        buffers.give(tensor.buffer);
        if (half) buffers.give(half.buffer);
      }
    },
    trim: buffers.trim,
    // deno-lint-ignore require-await
    async dispose() {
      commands.close();
      buffers.close();
      compiled.clear();
    },
  };
}
