/**
 * The ONNX Runtime executor: each segment becomes one small session, made at its first run and used for every layer
 * and every batch. Weights are inputs, not constants: their memory is the host's own, nothing is copied or packed
 * twice, and a session starts in milliseconds. Outputs are written into buffers from a pool, so that after the first
 * step nothing is allocated. The only user of onnxruntime-node besides this folder's tests.
 */
import * as ort from "onnxruntime-node";
import type { Executor, Segment, Value, WeightData } from "../ops.ts";
import { createGraph } from "./graph.ts";
import { type Recorded, recordingOps } from "./ops_onnx.ts";
import { nf4Codebook as nf4Code } from "../quant/nf4.ts";
import { returnFreedMemory } from "./malloc.ts";
import { createPool } from "./pool.ts";

interface Held extends Value {
  data: Float32Array | Int32Array | Uint8Array;
  tensor: ort.Tensor;
  /** NF4 weights. */
  absmax?: ort.Tensor;
  /** Views of some of its rows, by "start-end". */
  views?: Map<string, ort.Tensor>;
  pooled: boolean;
}

/** A weight in f32, made of the NF4 weight it holds at the moment. */
interface Dequantized {
  of?: Held;
  tensor: ort.Tensor;
}

interface Part {
  /** Name of the whole, and of the part. */
  of: string;
  name: string;
  start: number;
  end: number;
}

interface Compiled {
  session: ort.InferenceSession;
  /** NF4 inputs that the graph also wants in f32. */
  dequantized: string[];
  /** Inputs of which the graph wants some rows apart. */
  parts: Part[];
  /** Shapes of the outputs by the signature of the input shapes. */
  shapes: Map<string, Record<string, number[]>>;
}

export interface OnnxOptions {
  /** Threads of one operation; default: the number of cores. */
  threads?: number;
  /** Writes a profile of every session beside this prefix (ONNX Runtime's JSON). */
  profilePrefix?: string;
}

export function createOnnxExecutor(options: OnnxOptions = {}): Executor & { poolBytes(): number } {
  returnFreedMemory();
  const threads = options.threads ?? navigator.hardwareConcurrency;
  const sessions = new Map<string, Promise<Compiled>>();
  const pool = createPool();
  /** By input name and shape: the layers' weights of one module take turns in one buffer. */
  const scratch = new Map<string, Dequantized>();

  const hold = (data: Held["data"], shape: readonly number[], pooled: boolean): Held => ({
    data,
    shape,
    pooled,
    tensor: new ort.Tensor(typeName(data), data, shape),
  });

  /** Records the segment for inputs like these. */
  function record(segment: Segment, inputs: Record<string, Held>) {
    const graph = createGraph(segment.key);
    const recorded: Record<string, Recorded> = {}, dequantized: string[] = [], parts: Part[] = [];
    for (const [name, value] of Object.entries(inputs)) {
      const type = value.data instanceof Float32Array ? "float" : value.data instanceof Int32Array ? "int32" : "uint8";
      recorded[name] = { name: graph.input(name, type), shape: value.shape };
      if (type === "float") {
        recorded[name].rows = (start, end) => {
          const part = graph.input(`${name}.rows.${start}`, type);
          parts.push({ of: name, name: part, start, end });
          return part;
        };
      }
      if (!value.absmax) continue;
      recorded[name].absmax = graph.input(`${name}.absmax`, "float");
      recorded[name].dequantized = () => {
        if (!dequantized.includes(name)) dequantized.push(graph.input(`${name}.f32`, "float").slice(0, -4));
        return `${name}.f32`;
      };
    }
    const outputs = segment.build(recordingOps(graph), recorded);
    const shapes: Record<string, number[]> = {};
    for (const [name, value] of Object.entries(outputs)) {
      graph.output(value.name, `out.${name}`);
      shapes[name] = [...value.shape];
    }
    return { graph, shapes, dequantized, parts };
  }

  /** W in f32 for the products that need it whole. */
  function dequantize(name: string, weight: Held): ort.Tensor {
    const key = `${name}|${weight.shape}`;
    let held = scratch.get(key);
    if (!held) {
      held = { tensor: new ort.Tensor("float32", new Float32Array(count(weight.shape)), weight.shape) };
      scratch.set(key, held);
    }
    if (held.of !== weight) {
      dequantizeNf4Into(
        weight.data as Uint8Array,
        weight.absmax!.data as Float32Array,
        held.tensor.data as Float32Array,
      );
      held.of = weight;
    }
    return held.tensor;
  }

  async function compile(segment: Segment, inputs: Record<string, Held>): Promise<Compiled> {
    const { graph, dequantized, parts } = record(segment, inputs);
    const session = await ort.InferenceSession.create(graph.bytes(), {
      executionProviders: ["cpu"],
      // Constant folding and fusions only cost start-up here: the graphs are already what should run.
      graphOptimizationLevel: "disabled",
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      enableMemPattern: false,
      logSeverityLevel: 3,
      // Waiting threads that spin gain nothing measurable on an idle machine and take a third of a busy one.
      extra: { session: { intra_op: { allow_spinning: "0" } } },
      ...(options.profilePrefix
        ? { enableProfiling: true, profileFilePrefix: `${options.profilePrefix}_${segment.key.split("|")[0]}` }
        : {}),
    });
    return { session, dequantized, parts, shapes: new Map() };
  }

  async function close(key: string): Promise<void> {
    const { session } = await sessions.get(key)!;
    sessions.delete(key);
    if (options.profilePrefix) (session as unknown as { endProfiling(): void }).endProfiling();
    await session.release();
  }

  return {
    description: `ONNX Runtime ${ort.env.versions.node ?? ort.env.versions.common}, ${threads} threads`,
    poolBytes: pool.bytes,
    tensor: (data, shape) => hold(data, shape, false),
    weight(data: WeightData): Value {
      if (data.kind === "f32") return hold(data.data, data.shape, false);
      return {
        data: data.packed,
        shape: data.shape,
        pooled: false,
        tensor: new ort.Tensor("uint8", data.packed, [data.packed.length]),
        absmax: new ort.Tensor("float32", data.absmax, [data.absmax.length]),
      } as Held;
    },
    async run(segment, inputs, into = {}) {
      const held = inputs as Record<string, Held>;
      let signature = "", key = segment.key;
      const feeds: Record<string, ort.Tensor> = {};
      for (const name in held) {
        const value = held[name];
        feeds[name] = value.tensor;
        signature += `${value.shape};`;
        // Shapes of NF4 weights are attributes of the node, so they belong to the key.
        key += value.absmax ? `|${name}:${value.shape}` : `|${name}`;
        if (value.absmax) feeds[`${name}.absmax`] = value.absmax;
      }
      let compiling = sessions.get(key);
      if (!compiling) sessions.set(key, compiling = compile(segment, held));
      const compiled = await compiling;
      let shapes = compiled.shapes.get(signature);
      if (!shapes) compiled.shapes.set(signature, shapes = record(segment, held).shapes);

      for (const name of compiled.dequantized) feeds[`${name}.f32`] = dequantize(name, held[name]);
      for (const part of compiled.parts) feeds[part.name] = rowsView(held[part.of], part);
      const outputs: Record<string, Held> = {}, fetches: Record<string, ort.Tensor> = {};
      for (const name in shapes) {
        const given = into[name] as Held | undefined;
        outputs[name] = given ?? hold(pool.take(count(shapes[name])), shapes[name], true);
        fetches[`out.${name}`] = outputs[name].tensor;
      }
      await compiled.session.run(feeds, fetches);
      return outputs;
    },
    read: (value) => Promise.resolve((value as Held).data as Float32Array),
    release(...values) {
      for (const value of values as Held[]) if (value.pooled) pool.give(value.data as Float32Array);
    },
    async retire(segment) {
      for (const key of [...sessions.keys()]) {
        if (key === segment.key || key.startsWith(`${segment.key}|`)) await close(key);
      }
    },
    async dispose() {
      for (const key of [...sessions.keys()]) await close(key);
      scratch.clear();
      pool.clear();
    },
  };
}

/** Some rows of a value as a tensor over the same memory. */
function rowsView(value: Held, { start, end }: Part): ort.Tensor {
  value.views ??= new Map();
  const key = `${start}-${end}`, width = count(value.shape.slice(1));
  let view = value.views.get(key);
  if (!view) {
    const data = (value.data as Float32Array).subarray(start * width, end * width);
    view = new ort.Tensor("float32", data, [end - start, ...value.shape.slice(1)]);
    value.views.set(key, view);
  }
  return view;
}

const nf4High = new Float32Array(256), nf4Low = new Float32Array(256);
for (let byte = 0; byte < 256; byte++) [nf4High[byte], nf4Low[byte]] = [nf4Code[byte >> 4], nf4Code[byte & 15]];

/** code * absmax for every element; the last block may be shorter than 64. */
function dequantizeNf4Into(packed: Uint8Array, absmax: Float32Array, out: Float32Array): void {
  for (let block = 0, i = 0; block < absmax.length; block++) {
    const scale = absmax[block], end = Math.min(i + 32, packed.length);
    for (; i < end; i++) {
      const byte = packed[i];
      out[2 * i] = nf4High[byte] * scale;
      out[2 * i + 1] = nf4Low[byte] * scale;
    }
  }
}

function count(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function typeName(data: Float32Array | Int32Array | Uint8Array): "float32" | "int32" | "uint8" {
  return data instanceof Float32Array ? "float32" : data instanceof Int32Array ? "int32" : "uint8";
}
