/**
 * The ONNX Runtime executor: each segment becomes one small session, made at its first run and used for every layer
 * and every batch. Weights are inputs, not constants: their memory is the host's own, nothing is copied or packed
 * twice, and a session starts in milliseconds. NF4 weights are written out in f32 for the run that reads them, into one
 * buffer for each module, in which the layers take turns. Outputs are written into buffers from a pool, so that after
 * the first step nothing is allocated.
 */
import { decodingThreads, type Nf4Decoder, nf4Decoders } from "../quant/nf4_decoder.ts";
import type { Executor, Segment, Value, WeightData } from "../ops.ts";
import { createGraph, type Graph } from "./graph.ts";
import { returnFreedMemory } from "./malloc.ts";
import { type Recorded, recordingOps } from "./ops_onnx.ts";
import { createPool } from "./pool.ts";
import { type HalfType, onnxRuntime, type Session, type Tensor, type TensorData } from "./runtime.ts";

type Nf4Data = Extract<WeightData, { kind: "nf4" }>;

interface Held extends Value {
  data: TensorData | Uint8Array;
  /** Absent for NF4 weights, whose codes no graph reads. */
  tensor?: Tensor;
  /** Block maxima of NF4 weights. */
  absmax?: Nf4Data["absmax"];
  /** What the numbers of a Uint16Array are. */
  half?: HalfType;
  /** Views of some of its rows, by "start-end". */
  views?: Map<string, Tensor>;
  pooled: boolean;
}

/** An input of a graph: a value of the segment, or something made of one. */
type Input = { of: string } & ({ kind: "value" } | { kind: "rows"; start: number; end: number });

interface Compiled {
  session: Session;
  inputs: Input[];
  outputs: string[];
  /** Values that are written over, in the order of the session's last outputs. */
  overwritten: string[];
  /** Shapes of the outputs by the signature of the input shapes. */
  shapes: Map<string, Record<string, number[]>>;
}

export interface OnnxOptions {
  /** Threads of one operation; default: ONNX Runtime's choice, one on every physical core. */
  threads?: number;
  /** Writes a profile of every session beside this prefix (ONNX Runtime's JSON). */
  profilePrefix?: string;
}

export function createOnnxExecutor(options: OnnxOptions = {}): Executor {
  returnFreedMemory();
  const runtime = onnxRuntime();
  const threads = options.threads ?? 0;
  const sessions = new Map<string, Compiled>();
  const pool = createPool();
  const decoders = nf4Decoders({ threads: decodingThreads(threads || navigator.hardwareConcurrency) });
  const dequantize = dequantizer();

  const hold = (data: TensorData, shape: readonly number[], pooled: boolean): Held => ({
    ...{ data, shape, pooled },
    tensor: runtime.tensor(data, shape),
  });

  /** A session for inputs like these; `signature` names their shapes. */
  function compile(
    segment: Segment,
    { values, signature }: { values: Record<string, Held>; signature: string },
  ): Compiled {
    const { graph, inputs, shapes, overwritten } = record(segment, values);
    const outputs = Object.keys(shapes);
    const session = runtime.session(graph.bytes(), {
      inputs: inputs.map(inputName),
      outputs: [...outputs.map(outputName), ...overwritten.map(overName)],
      threads,
      profile: options.profilePrefix && `${options.profilePrefix}_${segment.key.split("|")[0]}`,
    });
    return { session, inputs, outputs, overwritten, shapes: new Map([[signature, shapes]]) };
  }

  function tensorOf(input: Input, value: Held): Tensor {
    if (input.kind === "rows") return rowsView(value, input);
    return value.tensor ?? dequantize(input.of, value);
  }

  return {
    description: `ONNX Runtime ${runtime.version}, ${threads > 0 ? `threads: ${threads}` : "a thread on every core"}`,
    paddedAttention: true,
    largeSegments: true,
    promptsThroughCache: true,
    tensor: (data, shape) => hold(data, shape, false),
    weight(data: WeightData): Value {
      const { shape } = data;
      if (data.kind === "f32") return hold(data.data, shape, false);
      if (data.kind === "half") {
        const { data: patterns, format: half } = data;
        return { data: patterns, shape, half, tensor: runtime.tensor(patterns, shape, half), pooled: false } as Held;
      }
      return { data: data.packed, absmax: data.absmax, shape, pooled: false } as Held;
    },
    async run(segment, inputs, into = {}) {
      const values = { ...segment.fixed, ...inputs } as Record<string, Held>;
      let signature = "", key = segment.key;
      for (const name in values) {
        const { shape, half } = values[name];
        signature += `${shape};`;
        key += half ? `|${name}:${half}` : `|${name}`;
      }
      let compiled = sessions.get(key);
      if (!compiled) sessions.set(key, compiled = compile(segment, { values, signature }));
      let shapes = compiled.shapes.get(signature);
      if (!shapes) compiled.shapes.set(signature, shapes = record(segment, values).shapes);

      const outputs: Record<string, Held> = {};
      for (const name of compiled.outputs) {
        const given = into[name] as Held | undefined, shape = shapes[name];
        outputs[name] = given ?? hold(pool.take(count(shape)), shape, true);
      }
      await compiled.session.run(
        compiled.inputs.map((input) => tensorOf(input, values[input.of])),
        [
          ...compiled.outputs.map((name) => outputs[name].tensor!),
          ...compiled.overwritten.map((name) => values[name].tensor!),
        ],
      );
      return outputs;
    },
    read: (value) => Promise.resolve(floats(value)),
    readAll: (values) => Promise.resolve(values.map(floats)),
    write(value, data) {
      if (floats(value) !== data) floats(value).set(data);
    },
    accumulate(into, from) {
      const sum = floats(into), added = floats(from);
      for (let i = 0; i < sum.length; i++) sum[i] += added[i];
    },
    storeRows(table, rows, index) {
      const to = floats(table), from = floats(rows), width = rows.shape[1];
      (index as Held).data.forEach((row, n) => to.set(from.subarray(n * width, (n + 1) * width), row * width));
    },
    release(...values) {
      for (const value of values as Held[]) if (value.pooled) pool.give(value.data as Float32Array);
    },
    trim: pool.trim,
    dispose() {
      for (const { session } of sessions.values()) session.close();
      sessions.clear();
      decoders.stop();
      pool.trim();
      return Promise.resolve();
    },
  };

  /** An NF4 weight in f32: the layers' weights of one module take turns in one buffer. */
  function dequantizer() {
    const buffers = new Map<string, { of?: Held; decoder: Nf4Decoder; tensor: Tensor }>();
    return (name: string, weight: Held): Tensor => {
      const key = `${name}|${weight.shape}`;
      let buffer = buffers.get(key);
      if (!buffer) {
        const decoder = decoders.decoder(count(weight.shape));
        buffers.set(key, buffer = { decoder, tensor: runtime.tensor(decoder.out, weight.shape) });
      }
      if (buffer.of !== weight) {
        buffer.decoder.decode(weight.data as Uint8Array, weight.absmax!);
        buffer.of = weight;
      }
      return buffer.tensor;
    };
  }

  /** Some rows of a value as a tensor over the same memory. */
  function rowsView(value: Held, { start, end }: { start: number; end: number }): Tensor {
    value.views ??= new Map();
    const key = `${start}-${end}`, width = count(value.shape.slice(1));
    let view = value.views.get(key);
    if (!view) {
      const data = value.data.subarray(start * width, end * width) as TensorData;
      value.views.set(key, view = runtime.tensor(data, [end - start, ...value.shape.slice(1)], value.half));
    }
    return view;
  }
}

const floats = (value: Value) => (value as Held).data as Float32Array;

const outputName = (name: string) => `out.${name}`;
const overName = (name: string) => `over.${name}`;

function inputName(input: Input): string {
  return input.kind === "value" ? input.of : `${input.of}.rows.${input.start}`;
}

/** The segment's graph for inputs like these, what it wants to be fed, and the shapes of its outputs. */
function record(segment: Segment, values: Record<string, Held>) {
  const graph: Graph = createGraph(segment.key), inputs: Input[] = [];
  const recorded: Record<string, Recorded> = {}, overwritten: string[] = [];
  const declare = (input: Input, type: "float" | "int32" | HalfType): string => {
    const name = inputName(input);
    if (!inputs.some((other) => inputName(other) === name)) {
      graph.input(name, type);
      inputs.push(input);
    }
    return name;
  };
  for (const [of, { data, shape, half }] of Object.entries(values)) {
    const type = half ?? (data instanceof Int32Array ? "int32" : "float");
    recorded[of] = {
      // Declared only where it is read: what a graph is not fed is not written out.
      get name() {
        return declare({ of, kind: "value" }, type);
      },
      shape,
      half: half !== undefined,
      overwrite(result) {
        graph.output(result, overName(of));
        overwritten.push(of);
      },
    };
    if (type !== "int32" && values[of].tensor) {
      recorded[of].rows = (start, end) => declare({ of, kind: "rows", start, end }, type);
    }
  }
  const outputs = segment.build(recordingOps(graph), recorded);
  const shapes: Record<string, number[]> = {};
  for (const [name, value] of Object.entries(outputs)) {
    graph.output(value.name, outputName(name));
    shapes[name] = [...value.shape];
  }
  return { graph, inputs, shapes, overwritten };
}

function count(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
