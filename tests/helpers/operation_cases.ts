/**
 * One case for every operation of `Ops`, at sizes that divide nothing: what an executor is compared on with the
 * float64 reference. Inputs are seeded; rows differ in length; query heads share key heads.
 */
import type { Activation, Executor, Ops, Segment, Value, WeightData } from "../../lib/ops.ts";
import { causalMask, makeBatch, rowsOf, spansOf } from "../../lib/model/batch.ts";
import { ropeTables } from "../../lib/model/rope.ts";
import { type Piece, spreadOf } from "../../lib/model/kv_cache.ts";
import { quantizeNf4 } from "../../lib/quant/nf4.ts";
import { randomFloats } from "./random.ts";

export type HostInput = { data: Float32Array | Int32Array; shape: number[] } | WeightData;

export interface OperationCase {
  name: string;
  inputs: Record<string, HostInput>;
  build: <V extends Value>(ops: Ops<V>, inputs: Record<string, V>) => Record<string, V>;
}

function random(seed: number, ...shape: number[]): HostInput {
  return { data: randomFloats(shape.reduce((a, b) => a * b, 1), seed), shape };
}

function nf4(seed: number, rows: number, columns: number): HostInput {
  return { kind: "nf4", shape: [rows, columns], ...quantizeNf4(randomFloats(rows * columns, seed)) };
}

function integers(...data: number[]): HostInput {
  return { data: Int32Array.from(data), shape: [data.length] };
}

/** Runs a case on an executor: outputs by name, and their shapes. */
export async function runCase(executor: Executor, { name, inputs, build }: OperationCase) {
  const values: Record<string, Value> = {};
  for (const [key, input] of Object.entries(inputs)) {
    values[key] = "kind" in input ? executor.weight(input) : executor.tensor(input.data, input.shape);
  }
  const segment: Segment = { key: name, build };
  const outputs = await executor.run(segment, values);
  const result: Record<string, { data: Float32Array; shape: readonly number[] }> = {};
  for (const [key, value] of Object.entries(outputs)) {
    result[key] = { data: (await executor.read(value)).slice(), shape: value.shape };
  }
  return result;
}

function attentionCases(lengths: number[], { H, G, S, window }: { H: number; G: number; S: number; window: number }) {
  const rows = lengths.map((n) => ({ tokens: new Int32Array(n), targets: new Uint8Array(n) }));
  const batch = makeBatch(rows), T = batch.tokens.length, L = batch.longest, B = batch.count;
  const inputs: Record<string, HostInput> = {
    q: random(1, T, H * S),
    k: random(2, T, G * S),
    v: random(3, T, G * S),
    dy: random(4, T, H * S),
    "rows.spans": { data: spansOf(batch.positions, window), shape: [T, 2] },
    "rows.gather": { data: batch.gather, shape: [B, L] },
    "rows.scatter": { data: batch.scatter, shape: [T] },
    "rows.live": { data: batch.live, shape: [B, L] },
    "rows.mask": { data: causalMask(L, window), shape: [L, L] },
  };
  const options = { heads: H, kvHeads: G, scale: 1.3 };
  const label = `rows ${lengths}, ${H}/${G} heads of ${S}, window ${window}`;
  return [
    {
      name: `attention, ${label}`,
      inputs,
      build: (ops, i) => ({ y: ops.attention(i.q, i.k, i.v, rowsOf(i), options) }),
    },
    {
      name: `attentionBackward, ${label}`,
      inputs,
      build: (ops, i) => ops.attentionBackward(i.dy, i.q, i.k, i.v, rowsOf(i), options),
    },
  ] as OperationCase[];
}

/**
 * New tokens of three sequences in slots of 9 places, and of one sequence alone: keys and values stored before are given
 * twice, as a table and slot by slot, and come out as they are afterwards.
 */
function cachedCases({ H, G, S, window }: { H: number; G: number; S: number; window: number }): OperationCase[] {
  const C = 9, options = { heads: H, kvHeads: G, scale: 0.5, window };
  const all: Piece[] = [{ slot: 2, start: 4, count: 1 }, { slot: 0, start: 0, count: 3 }, {
    slot: 1,
    start: 5,
    count: 4,
  }];
  return [all, all.slice(0, 1), all.slice(2)].map((pieces): OperationCase => {
    const T = pieces.reduce((sum, { count }) => sum + count, 0), D = G * S;
    const stored = { keys: randomFloats(3 * C * D, 5), values: randomFloats(3 * C * D, 6) };
    const inputs: Record<string, HostInput> = { q: random(1, T, H * S), k: random(2, T, D), v: random(3, T, D) };
    const places = pieces.flatMap(({ slot, start, count }) =>
      Array.from({ length: count }, (_, i) => [slot * C + Math.max(0, start + i + 1 - window), slot * C + start + i])
    );
    inputs.index = integers(...places.map(([, own]) => own));
    inputs.spans = { data: Int32Array.from(places.flatMap(([first, own]) => [first, own + 1])), shape: [T, 2] };
    const { spread, gather, counts } = spreadOf(pieces);
    Object.assign(inputs, { spread: integers(...spread), gather: integers(...gather), counts: integers(...counts) });
    for (const what of ["keys", "values"] as const) {
      inputs[what] = { data: stored[what].slice(), shape: [3, C, D] };
      pieces.forEach(({ slot }, i) => {
        const own = new Float32Array(G * C * S);
        for (let g = 0; g < G; g++) {
          for (let c = 0; c < C; c++) {
            const from = ((slot * C + c) * G + g) * S;
            own.set(stored[what].subarray(from, from + S), (g * C + c) * S);
          }
        }
        inputs[`${what}.${i}`] = { data: own, shape: [1, G, C, S] };
      });
    }
    pieces.forEach(({ start }, i) => {
      inputs[`last.${i}`] = integers(start + counts[i] - 1);
      inputs[`end.${i}`] = integers(start + counts[i]);
    });
    return {
      name: `attentionCached, ${pieces.length} sequences, ${H}/${G} heads, window ${window}`,
      inputs,
      build(o, i) {
        const each = (what: string) => pieces.map((_, p) => i[`${what}.${p}`]);
        const slots = { keys: each("keys"), values: each("values"), last: each("last"), end: each("end") };
        const table = { keys: i.keys, values: i.values, index: i.index, spans: i.spans };
        return {
          y: o.attentionCached(i.q, i.k, i.v, {
            table,
            slots: { ...slots, spread: i.spread, gather: i.gather, counts: i.counts },
          }, options),
        };
      },
    };
  });
}

export function operationCases(): OperationCase[] {
  const T = 17, D = 72, O = 33, R = 3, V = 131;
  const positions = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1000];
  const rope = ropeTables({ theta: 10000, scaling: { type: "none" } }, 6, positions);
  const cos = { data: rope.cos, shape: [T, 3] }, sin = { data: rope.sin, shape: [T, 3] };
  const cases: OperationCase[] = [
    {
      name: "gatherRows",
      inputs: { table: random(1, V, D), index: integers(0, V - 1, 7, 7) },
      build: (o, i) => ({ y: o.gatherRows(i.table, i.index) }),
    },
    {
      name: "scatterRows",
      inputs: { x: random(1, 3, D), index: integers(5, 0, 16), like: random(2, T, D) },
      build: (o, i) => ({ y: o.scatterRows(i.x, i.index, i.like) }),
    },
    {
      name: "add, mul, div of the same shape",
      inputs: { a: random(1, T, D), b: random(2, T, D) },
      build: (o, i) => ({ sum: o.add(i.a, i.b), product: o.mul(i.a, i.b), ratio: o.div(i.a, i.b) }),
    },
    {
      name: "add and mul of a vector",
      inputs: { a: random(1, T, D), b: random(2, D) },
      build: (o, i) => ({ sum: o.add(i.a, i.b), product: o.mul(i.a, i.b) }),
    },
    { name: "scale", inputs: { x: random(1, T, D) }, build: (o, i) => ({ y: o.scale(i.x, -0.37) }) },
    { name: "sumRows", inputs: { x: random(1, T, D) }, build: (o, i) => ({ y: o.sumRows(i.x) }) },
    ...[D, 24, 1].map((S): OperationCase => ({
      name: `rmsNorm and rmsNormBackward in groups of ${S}`,
      inputs: { x: random(1, T, D), w: random(2, S), dy: random(3, T, D) },
      build: (o, i) => ({
        y: o.rmsNorm(i.x, i.w, { eps: 1e-5 }),
        dx: o.rmsNormBackward(i.dy, i.x, i.w, { eps: 1e-5 }),
      }),
    })),
    ...[1, T].map((n): OperationCase => ({
      name: `linear and linearBackward, f32, ${n} tokens`,
      inputs: { x: random(1, n, D), w: random(2, O, D), dy: random(3, n, O) },
      build: (o, i) => ({ y: o.linear(i.x, i.w), dx: o.linearBackward(i.dy, i.w) }),
    })),
    ...[[1, 64, 64], [T, 33, 128], [T, 257, 192], [40, 48, 60]].map(([n, out, width]): OperationCase => ({
      name: `linear and linearBackward, NF4 [${out}, ${width}], ${n} tokens`,
      inputs: { x: random(1, n, width), w: nf4(2, out, width), dy: random(3, n, out) },
      build: (o, i) => ({ y: o.linear(i.x, i.w), dx: o.linearBackward(i.dy, i.w) }),
    })),
    {
      name: "matmul, all transpositions",
      inputs: { a: random(1, T, R), at: random(2, R, T), b: random(3, R, O), bt: random(4, O, R) },
      build: (o, i) => ({
        nn: o.matmul(i.a, i.b),
        tn: o.matmul(i.at, i.b, { transA: true }),
        nt: o.matmul(i.a, i.bt, { transB: true, scale: 0.7 }),
        tt: o.matmul(i.at, i.bt, { transA: true, transB: true }),
      }),
    },
    {
      name: "matmul with plus",
      inputs: { a: random(1, T, R), b: random(3, R, O), c: random(5, T, O) },
      build: (o, i) => ({ y: o.matmul(i.a, i.b, { scale: -2, plus: i.c }) }),
    },
    ...[random(1, O, D), nf4(1, O, 128)].map((weight): OperationCase => ({
      name: `adaptedRowNorm, ${"kind" in weight ? "NF4" : "f32"}`,
      inputs: { w: weight, a: random(2, R, weight.shape[1]), b: random(3, O, R) },
      build: (o, i) => ({ y: o.adaptedRowNorm(i.w, i.a, i.b, { scale: 0.5 }) }),
    })),
    ...[1, 12].map((heads): OperationCase => ({
      name: `rope and its inverse, ${heads} heads`,
      inputs: { x: random(1, T, heads * 6), cos, sin },
      build: (o, i) => ({
        y: o.rope(i.x, i.cos, i.sin, { heads }),
        back: o.rope(i.x, i.cos, i.sin, { heads, inverse: true }),
      }),
    })),
    ...attentionCases([5, 1, 11], { H: 6, G: 2, S: 4, window: Infinity }),
    ...attentionCases([17], { H: 4, G: 4, S: 6, window: 3 }),
    ...attentionCases([1], { H: 2, G: 1, S: 8, window: Infinity }),
    ...cachedCases({ H: 6, G: 2, S: 8, window: Infinity }),
    ...cachedCases({ H: 4, G: 4, S: 16, window: 3 }),
    ...(["silu", "gelu_tanh"] as Activation[]).map((activation): OperationCase => ({
      name: `gated and gatedBackward, ${activation}`,
      inputs: {
        gate: { data: randomFloats(T * D, 1).map((x) => 9 * x), shape: [T, D] },
        up: random(2, T, D),
        dy: random(3, T, D),
      },
      build(o, i) {
        const { y: again, ...gradients } = o.gatedBackward(i.dy, i.gate, i.up, activation);
        return { y: o.gated(i.gate, i.up, activation), again, ...gradients };
      },
    })),
    {
      name: "crossEntropy",
      inputs: {
        h: random(1, 3, D),
        w: { data: randomFloats(V * D, 2).map((x) => 3 * x), shape: [V, D] },
        targets: integers(0, V - 1, 64),
      },
      build: (o, i) => o.crossEntropy(i.h, i.w, i.targets, { scale: 0.25 }),
    },
    {
      name: "crossEntropy over a vocabulary of several slices",
      inputs: {
        h: random(1, 5, 24),
        w: { data: randomFloats(20011 * 24, 2).map((x) => 3 * x), shape: [20011, 24] },
        targets: integers(0, 20010, 6143, 6144, 10000),
      },
      build: (o, i) => o.crossEntropy(i.h, i.w, i.targets, { scale: 0.25 }),
    },
    {
      name: "crossEntropy far from its target",
      inputs: {
        h: { data: randomFloats(3 * D, 1).map((x) => 20 * x), shape: [3, D] },
        w: random(2, V, D),
        targets: integers(1, 2, 3),
      },
      build: (o, i) => o.crossEntropy(i.h, i.w, i.targets, { scale: 1 }),
    },
  ];
  return cases;
}
