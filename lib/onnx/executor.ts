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
import { createPool } from "./pool.ts";

interface Held extends Value {
  data: Float32Array | Int32Array | Uint8Array;
  tensor: ort.Tensor;
  absmax?: ort.Tensor;
  pooled: boolean;
}

interface Compiled {
  session: ort.InferenceSession;
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
  const threads = options.threads ?? navigator.hardwareConcurrency;
  const sessions = new Map<string, Promise<Compiled>>();
  const pool = createPool();

  const hold = (data: Held["data"], shape: readonly number[], pooled: boolean): Held => ({
    data,
    shape,
    pooled,
    tensor: new ort.Tensor(typeName(data), data, shape),
  });

  /** Records the segment for inputs like these. */
  function record(segment: Segment, inputs: Record<string, Held>) {
    const graph = createGraph(segment.key);
    const recorded: Record<string, Recorded> = {};
    for (const [name, value] of Object.entries(inputs)) {
      const type = value.data instanceof Float32Array ? "float" : value.data instanceof Int32Array ? "int32" : "uint8";
      recorded[name] = { name: graph.input(name, type), shape: value.shape };
      if (value.absmax) recorded[name].absmax = graph.input(`${name}.absmax`, "float");
    }
    const outputs = segment.build(recordingOps(graph), recorded);
    const shapes: Record<string, number[]> = {};
    for (const [name, value] of Object.entries(outputs)) {
      graph.output(value.name, name);
      shapes[name] = [...value.shape];
    }
    return { graph, shapes };
  }

  async function compile(segment: Segment, inputs: Record<string, Held>): Promise<Compiled> {
    const session = await ort.InferenceSession.create(record(segment, inputs).graph.bytes(), {
      executionProviders: ["cpu"],
      // Constant folding and fusions only cost start-up here: the graphs are already what should run.
      graphOptimizationLevel: "disabled",
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      enableMemPattern: false,
      logSeverityLevel: 3,
      ...(options.profilePrefix
        ? { enableProfiling: true, profileFilePrefix: `${options.profilePrefix}_${segment.key.split("|")[0]}` }
        : {}),
    });
    return { session, shapes: new Map() };
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

      const outputs: Record<string, Held> = {}, fetches: Record<string, ort.Tensor> = {};
      for (const name in shapes) {
        const given = into[name] as Held | undefined;
        outputs[name] = given ?? hold(pool.take(count(shapes[name])), shapes[name], true);
        fetches[name] = outputs[name].tensor;
      }
      await compiled.session.run(feeds, fetches);
      return outputs;
    },
    read: (value) => Promise.resolve((value as Held).data as Float32Array),
    release(...values) {
      for (const value of values as Held[]) if (value.pooled) pool.give(value.data as Float32Array);
    },
    async dispose() {
      for (const compiled of sessions.values()) {
        const { session } = await compiled;
        if (options.profilePrefix) (session as unknown as { endProfiling(): void }).endProfiling();
        await session.release();
      }
      sessions.clear();
      pool.clear();
    },
  };
}

function count(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function typeName(data: Float32Array | Int32Array | Uint8Array): "float32" | "int32" | "uint8" {
  return data instanceof Float32Array ? "float32" : data instanceof Int32Array ? "int32" : "uint8";
}
