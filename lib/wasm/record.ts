/**
 * Segments recorded as calls of the WASM kernels: an `Ops` whose values are places to be, and the list of calls that fills
 * them. Where the places lie is decided afterwards (list.ts). Only what answers need is here: nothing backward.
 */
import type { Ops, Value } from "../ops.ts";
import type { Kernel } from "./module.ts";
import { mostActivation } from "./weight.ts";

/** A value of a segment: an input, or what a call makes. */
export interface Node extends Value {
  /** Of inputs: their name. */
  input?: string;
  /** Of inputs that are weights: what form they have. */
  form?: "nf4" | "q8" | "f32";
  bytes: number;
}

/**
 * A word of a call's arguments: a number, an f32, the address of a node or of the scales of a weight, or the address of
 * another word of the same call.
 */
export type Word = number | { float: number } | { of: Node; scales?: boolean } | { word: number };

export interface Call {
  /** "many_rows": y = x * W^T of the nodes in `words`, in that order, which others than the kernels compute. */
  kernel: Kernel | "many_rows";
  words: Word[];
  reads: Node[];
  writes: Node[];
}

/** f32 numbers that a thread's own memory holds. */
const mostScores = 2 ** 18;

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const last = (shape: readonly number[]) => shape[shape.length - 1];

/** `manyRows`: from how many rows on products with weights in NF4 are left to others. */
export function recordingOps(calls: Call[], { manyRows = Infinity }: { manyRows?: number } = {}): Ops<Node> {
  /** Rows as integers, made once for all products that read them. */
  const integers = new Map<Node, { q: Node; scales: Node }>(), rounded = new Map<Node, Node>();

  const node = (shape: readonly number[], bytes = 4 * count(shape)): Node => ({ shape, bytes });
  function call(kernel: Call["kernel"], words: Word[], { reads, writes }: Pick<Call, "reads" | "writes">): void {
    calls.push({ kernel, words, reads, writes });
  }
  function elementwise(op: 0 | 1 | 2, a: Node, b: Node): Node {
    const y = node(a.shape), same = a.shape.length === b.shape.length;
    const width = same && a.shape.length === 1 ? count(a.shape) : last(a.shape);
    const rowBytes = same ? 4 * width : 0;
    call("elementwise", [{ of: a }, { of: b }, { of: y }, count(a.shape) / width, width, op, rowBytes, 4], {
      reads: [a, b],
      writes: [y],
    });
    return y;
  }
  function quantized(x: Node): { q: Node; scales: Node } {
    let made = integers.get(x);
    if (made) return made;
    const size = count(x.shape);
    made = { q: node(x.shape, 2 * size), scales: node([size / 32]) };
    call("quantize", [{ of: x }, { of: made.q }, { of: made.scales }, size / 64, { float: mostActivation }], {
      reads: [x],
      writes: [made.q, made.scales],
    });
    integers.set(x, made);
    return made;
  }
  function roundedRows(x: Node): Node {
    const made = rounded.get(x) ?? node(x.shape);
    if (!rounded.has(x)) {
      const words: Word[] = [{ of: x }, { of: made }, count(x.shape) / 64, { float: mostActivation }];
      call("round", words, { reads: [x], writes: [made] });
    }
    rounded.set(x, made);
    return made;
  }
  /** factor * x * W^T + plus, W in f32. */
  function linearF32(x: Node, w: Node, { factor = 1, plus }: { factor?: number; plus?: Node } = {}): Node {
    const [T, I] = x.shape, [O] = w.shape, y = node([T, O]);
    call("linear_f32", [{ of: x }, { of: w }, { of: y }, plus ? { of: plus } : 0, T, O, I, { float: factor }], {
      reads: plus ? [x, w, plus] : [x, w],
      writes: [y],
    });
    return y;
  }
  function attend(q: Node, table: { keys: Node; values: Node; spans: Node; ends: boolean }, options: {
    heads: number;
    kvHeads: number;
    scale: number;
  }): Node {
    const y = node(q.shape), [T] = q.shape, { heads: H, kvHeads, scale } = options, { keys, values, spans } = table;
    const S = last(q.shape) / H, most = keys.shape[keys.shape.length - 2], group = H / kvHeads;
    // For few tokens heads alone share out better; and all scores must have room.
    const heads = T >= 8 && group * (most + 8) <= mostScores ? group : 1;
    const tokens = T >= 8 && 4 * heads * (most + 8) <= mostScores ? 4 : 1;
    if (most + 8 > mostScores) throw new RangeError(`A context of ${most} tokens is longer than ${mostScores}`);
    const words: Word[] = [{ of: q }, { of: keys }, { of: values }, { of: spans }, { of: y }];
    words.push(T, H, kvHeads, S, { float: scale }, Number(table.ends), heads, tokens);
    call("attention", words, { reads: [q, keys, values, spans], writes: [y] });
    return y;
  }

  return {
    gatherRows(table, index) {
      const [N] = index.shape, D = last(table.shape), y = node([N, D]);
      if (table.form === "q8") {
        const words: Word[] = [
          { of: table },
          { of: table, scales: true },
          { of: index },
          { of: y },
          N,
          D / 32,
          table.shape[0],
        ];
        call("gather_q8", words, { reads: [table, index], writes: [y] });
      } else {
        call("gather_rows", [{ of: table }, { of: index }, { of: y }, N, D], { reads: [table, index], writes: [y] });
      }
      return y;
    },
    add: (a, b) => elementwise(0, a, b),
    mul: (a, b) => elementwise(1, a, b),
    div: (a, b) => elementwise(2, a, b),
    scale(x, factor) {
      const y = node(x.shape), width = last(x.shape);
      const words: Word[] = [{ of: x }, { word: 8 }, { of: y }, count(x.shape) / width, width, 1, 0, 0];
      call("elementwise", [...words, { float: factor }], { reads: [x], writes: [y] });
      return y;
    },
    rmsNorm(x, weight, { eps }) {
      const y = node(x.shape), S = count(weight.shape);
      const words: Word[] = [{ of: x }, { of: weight }, { of: y }, count(x.shape) / S, S, { float: eps }];
      call("rms_norm", words, { reads: [x, weight], writes: [y] });
      return y;
    },
    linear(x, weight) {
      if (weight.form !== "nf4" && weight.form !== "q8") return linearF32(x, weight);
      const [T, I] = x.shape, [O] = weight.shape, y = node([T, O]);
      if (T >= manyRows && weight.form === "nf4") {
        const rounded = roundedRows(x);
        call("many_rows", [{ of: rounded }, { of: weight }, { of: y }], { reads: [rounded, weight], writes: [y] });
        return y;
      }
      const { q, scales } = quantized(x);
      const words: Word[] = [{ of: q }, { of: scales }, { of: weight }, { of: weight, scales: true }, { of: y }, T, O];
      call(`linear_${weight.form}`, [...words, I / (weight.form === "nf4" ? 64 : 32)], {
        reads: [q, scales, weight],
        writes: [y],
      });
      return y;
    },
    matmul(a, b, { transA, transB, scale, plus } = {}) {
      if (transA || !transB) return answersOnly("other product than x * W^T");
      return linearF32(a, b, { factor: scale, plus });
    },
    rope(x, cos, sin, { heads, inverse }) {
      if (inverse) return answersOnly("rope's inverse");
      const y = node(x.shape), [T] = x.shape;
      const words: Word[] = [
        { of: x },
        { of: cos },
        { of: sin },
        { of: y },
        T * heads,
        heads,
        last(x.shape) / heads / 2,
      ];
      call("rope", words, { reads: [x, cos, sin], writes: [y] });
      return y;
    },
    attention: (q, k, v, { spans }, options) => attend(q, { keys: k, values: v, spans, ends: false }, options),
    attentionCached(q, k, v, { table }, options) {
      const { keys, values, index, spans } = table!, [N, D] = k.shape;
      for (const [to, from] of [[keys, k], [values, v]]) {
        call("store_rows", [{ of: to }, { of: index }, { of: from }, N, D], { reads: [from, index], writes: [to] });
      }
      return attend(q, { keys, values, spans, ends: true }, options);
    },
    gated(gate, up, activation) {
      const y = node(gate.shape), root = Math.sqrt(2 / Math.PI);
      const [c, d] = activation === "silu" ? [1, 0] : [2 * root, 2 * root * 0.044715];
      const words: Word[] = [{ of: gate }, { of: up }, { of: y }, count(gate.shape), { float: c }, { float: d }];
      call("gated", words, { reads: [gate, up], writes: [y] });
      return y;
    },
    adaptedRowNorm(weight, a, b, { scale }) {
      const y = node([weight.shape[0]]), [R, I] = a.shape, form = ["f32", "q8", "nf4"].indexOf(weight.form ?? "f32");
      const words: Word[] = [{ of: weight }, form ? { of: weight, scales: true } : 0, { of: a }, { of: b }, { of: y }];
      words.push(weight.shape[0], I, R, { float: scale }, form);
      call("adapted_row_norm", words, { reads: [weight, a, b], writes: [y] });
      return y;
    },
    scatterRows: () => answersOnly("scatterRows"),
    sumRows: () => answersOnly("sumRows"),
    rmsNormBackward: () => answersOnly("rmsNormBackward"),
    linearBackward: () => answersOnly("linearBackward"),
    attentionBackward: () => answersOnly("attentionBackward"),
    gatedBackward: () => answersOnly("gatedBackward"),
    crossEntropy: () => answersOnly("crossEntropy"),
  };
}

function answersOnly(what: string): never {
  throw new Error(`The WASM engine answers only: it has no ${what}`);
}
