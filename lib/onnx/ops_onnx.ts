/**
 * `Ops` that records: every operation appends ONNX nodes to a graph and returns the name of the result with the shape
 * it will have for the inputs at hand. The graph itself fixes no number of tokens: reshapes use 0 and -1, so that one
 * session serves every batch. Only ONNX's standard operators and ONNX Runtime's own CPU kernels are used.
 */
import type { Activation, AttentionOptions, Ops, PaddedRows, Value } from "../ops.ts";
import { elementType, type Graph, type NodeOptions } from "./graph.ts";

export interface Recorded extends Value {
  /** Name in the graph. */
  name: string;
  /** Whether it holds 16-bit numbers: they are cast to f32 where they are read, a slice at a time. */
  half?: boolean;
  /** Set for inputs: declares an input that holds rows start..end of it, without a copy, and names it. */
  rows?: (start: number, end: number) => string;
  /** Set for inputs: declares that the value of this name is written over it. */
  overwrite?: (result: string) => void;
}

const microsoft = "com.microsoft";

export function recordingOps(graph: Graph): Ops<Recorded> {
  const make = (name: string, shape: readonly number[]): Recorded => ({ name, shape });
  const node = (op: string, inputs: string[], options?: NodeOptions) => graph.node(op, inputs, options)[0];
  const scalar = (value: number) => graph.constant("float", [value], []);
  const axes = (...values: number[]) => graph.constant("int64", values);
  const reshape = (x: string, ...shape: number[]) => node("Reshape", [x, graph.constant("int64", shape)]);
  const transpose = (x: string, ...perm: number[]) => node("Transpose", [x], { attributes: { perm: { ints: perm } } });
  const binary = (op: string) => (a: Recorded, b: Recorded) => make(node(op, [a.name, b.name]), a.shape);
  const [add, mul, div] = [binary("Add"), binary("Mul"), binary("Div")];

  const rows = (x: string, index: Recorded) => node("Gather", [x, index.name], { attributes: { axis: { int: 0 } } });
  const toFloat = (x: string, from: Recorded) =>
    from.half ? node("Cast", [x], { attributes: { to: { int: elementType.float } } }) : x;
  /** Rows start..end of a weight in f32. Of 16 bits anew at every call, so that no slice outlives its product. */
  const slice = (weight: Recorded, [start, end]: [number, number]) =>
    toFloat(end - start === weight.shape[0] ? weight.name : weight.rows!(start, end), weight);

  /** op(a)*op(b)*scale over the last two axes. */
  const product = (a: string, b: string, options: { transA?: boolean; transB?: boolean; scale?: number } = {}) =>
    node("FusedMatMul", [a, b], {
      domain: microsoft,
      attributes: {
        transA: { int: options.transA ? 1 : 0 },
        transB: { int: options.transB ? 1 : 0 },
        alpha: options.scale ?? 1,
      },
    });

  const linear = (x: Recorded, weight: Recorded) => {
    const outputs = weight.shape[0], slices = weight.half ? sliceRows(outputs) : [[0, outputs] as [number, number]];
    const parts = slices.map((bounds) => product(x.name, slice(weight, bounds), { transB: true }));
    const y = parts.length === 1 ? parts[0] : node("Concat", parts, { attributes: { axis: { int: 1 } } });
    return make(y, [x.shape[0], outputs]);
  };
  const linearBackward = (dy: Recorded, weight: Recorded) =>
    make(product(dy.name, toFloat(weight.name, weight)), [dy.shape[0], weight.shape[1]]);
  const matmul: Ops<Recorded>["matmul"] = (a, b, options = {}) => {
    const shape = [a.shape[options.transA ? 1 : 0], b.shape[options.transB ? 0 : 1]];
    // A tall result with few columns (LoRA's dB) is three times as fast as its transpose, computed wide.
    if (options.transA && !options.transB && !options.plus && shape[1] * 4 < shape[0]) {
      return make(transpose(product(b.name, a.name, options), 1, 0), shape);
    }
    if (!options.plus) return make(product(a.name, b.name, options), shape);
    const flags = { transA: { int: options.transA ? 1 : 0 }, transB: { int: options.transB ? 1 : 0 } };
    const attributes = { ...flags, alpha: options.scale ?? 1, beta: 1 };
    return make(node("Gemm", [a.name, b.name, options.plus.name], { attributes }), shape);
  };

  // Attention. H query heads share G key heads, M = H/G each; the M heads of a group are folded into the rows of one
  // matrix, so that products over keys need no repetition and dk, dv sum over the group by themselves.

  /** [T, G*M*S] -> [B, G, M*L, S]. */
  function fold(x: Recorded, rows: PaddedRows<Recorded>, groups: { G: number; M: number }): string {
    const size = x.shape[1] / (groups.G * groups.M);
    const padded = node("Gather", [x.name, rows.gather.name], { attributes: { axis: { int: 0 } } });
    const split = reshape(padded, 0, 0, groups.G, groups.M, size);
    return reshape(transpose(split, 0, 2, 3, 1, 4), 0, 0, -1, size);
  }
  /** [B, G, M*L, S] -> [T, G*M*S]. */
  function unfold(x: string, rows: PaddedRows<Recorded>, groups: { G: number; M: number; S: number }): Recorded {
    const width = groups.G * groups.M * groups.S;
    const split = transpose(reshape(x, 0, 0, groups.M, -1, groups.S), 0, 3, 1, 2, 4);
    const packed = node("Gather", [reshape(split, -1, width), rows.scatter.name], { attributes: { axis: { int: 0 } } });
    return make(packed, [rows.scatter.shape[0], width]);
  }
  function probabilities(q: string, k: string, rows: PaddedRows<Recorded>, options: AttentionOptions): string {
    const M = options.heads / options.kvHeads;
    const mask = M === 1 ? rows.mask.name : node("Concat", Array(M).fill(rows.mask.name), {
      attributes: { axis: { int: 0 } },
    });
    const scores = node("Add", [product(q, k, { transB: true, scale: options.scale }), mask]);
    return node("Softmax", [scores], { attributes: { axis: { int: -1 } } });
  }

  return {
    add,
    mul,
    div,
    linear,
    linearBackward,
    matmul,
    gatherRows(table, index) {
      return make(toFloat(rows(table.name, index), table), [index.shape[0], table.shape[1]]);
    },
    scatterRows(x, index, like) {
      const zeros = node("ConstantOfShape", [node("Shape", [like.name])]);
      const index64 = node("Cast", [index.name], { attributes: { to: { int: 7 } } });
      return make(node("ScatterND", [zeros, reshape(index64, -1, 1), x.name]), like.shape);
    },
    scale: (x, factor) => make(node("Mul", [x.name, scalar(factor)]), x.shape),
    sumRows(x) {
      const y = node("ReduceSum", [x.name, axes(0)], { attributes: { keepdims: { int: 0 } } });
      return make(y, [x.shape[1]]);
    },

    rmsNorm(x, weight, { eps }) {
      const width = weight.shape[0];
      const grouped = width === x.shape[1] ? x.name : reshape(x.name, -1, width);
      const y = node("SimplifiedLayerNormalization", [grouped, weight.name], {
        attributes: { axis: { int: -1 }, epsilon: eps },
      });
      return make(width === x.shape[1] ? y : reshape(y, -1, x.shape[1]), x.shape);
    },
    rmsNormBackward(dy, x, weight, { eps }) {
      const width = weight.shape[0], whole = width === x.shape[1];
      const xs = whole ? x.name : reshape(x.name, -1, width);
      const g = node("Mul", [whole ? dy.name : reshape(dy.name, -1, width), weight.name]);
      // ReduceL2 is sqrt(sum x^2): mean square = (L2)^2 / width.
      const square = node("ReduceSumSquare", [xs, axes(1)]);
      const r = node("Reciprocal", [
        node("Sqrt", [node("Add", [node("Mul", [square, scalar(1 / width)]), scalar(eps)])]),
      ]);
      const dot = node("ReduceSum", [node("Mul", [g, xs]), axes(1)]);
      const factor = node("Mul", [node("Mul", [dot, scalar(1 / width)]), node("Mul", [r, r])]);
      const dx = node("Mul", [node("Sub", [g, node("Mul", [xs, factor])]), r]);
      return make(whole ? dx : reshape(dx, -1, x.shape[1]), x.shape);
    },

    adaptedRowNorm(weight, a, b, { scale }) {
      // ||W + sBA||^2 by rows = ||W||^2 + 2s <W A^T, B> + s^2 <B A A^T, B>; W itself comes from linear(identity).
      const inputs = weight.shape[1];
      const eye = node("EyeLike", [node("ConstantOfShape", [graph.constant("int64", [inputs, inputs])])]);
      const transposed = linear(make(eye, [inputs, inputs]), weight); // [I, O]
      const adapted = matmul(a, b, { transA: true, transB: true, scale, plus: transposed });
      const norm = node("ReduceL2", [adapted.name, axes(0)], { attributes: { keepdims: { int: 0 } } });
      return make(norm, [weight.shape[0]]);
    },

    rope(x, cos, sin, { heads, inverse }) {
      const turned = inverse ? node("Neg", [sin.name]) : sin.name;
      // The tables already hold one row a token, so that the positions are simply 0, 1, 2, ...: one base position 0.
      const y = node("RotaryEmbedding", [
        node("Unsqueeze", [x.name, axes(0)]),
        graph.constant("int64", [0]),
        cos.name,
        turned,
      ], { domain: microsoft, attributes: { num_heads: { int: heads }, rotary_embedding_dim: { int: 0 } } });
      return make(node("Squeeze", [y, axes(0)]), x.shape);
    },

    attention(q, k, v, packed, options) {
      const rows = packed.padded!;
      const G = options.kvHeads, M = options.heads / G, S = q.shape[1] / options.heads;
      const p = probabilities(fold(q, rows, { G, M }), fold(k, rows, { G, M: 1 }), rows, options);
      return unfold(product(p, fold(v, rows, { G, M: 1 })), rows, { G, M, S });
    },
    attentionBackward(dy, q, k, v, packed, options) {
      const rows = packed.padded!;
      const G = options.kvHeads, M = options.heads / G, S = q.shape[1] / options.heads;
      const [qf, kf, vf] = [fold(q, rows, { G, M }), fold(k, rows, { G, M: 1 }), fold(v, rows, { G, M: 1 })];
      const p = probabilities(qf, kf, rows, options);
      const y = unfold(product(p, vf), rows, { G, M, S });
      // Padding must give no gradient: its dy is a copy of some token's, so it is set to zero.
      const padded = node("Gather", [dy.name, rows.gather.name], { attributes: { axis: { int: 0 } } });
      const lived = node("Mul", [padded, node("Unsqueeze", [rows.live.name, axes(2)])]);
      const dyf = reshape(transpose(reshape(lived, 0, 0, G, M, S), 0, 2, 3, 1, 4), 0, 0, -1, S);
      const dv = product(p, dyf, { transA: true });
      const dp = product(dyf, vf, { transB: true });
      const pdp = node("Mul", [p, dp]);
      // ds = p*(dp - sum(p*dp))
      const ds = node("Sub", [pdp, node("Mul", [p, node("ReduceSum", [pdp, axes(3)])])]);
      const dq = product(ds, kf, { scale: options.scale });
      const dk = product(ds, qf, { transA: true, scale: options.scale });
      return {
        y,
        dq: unfold(dq, rows, { G, M, S }),
        dk: unfold(dk, rows, { G, M: 1, S }),
        dv: unfold(dv, rows, { G, M: 1, S }),
      };
    },
    attentionCached(q, k, v, { slots }, options) {
      // A node for each sequence, which adds its new keys and values to its slot in place.
      const { keys, values, last, end, counts, spread, gather } = slots!, sequences = keys.length;
      const sizes = sequences > 1 ? node("Cast", [counts.name], { attributes: { to: { int: 7 } } }) : "";
      const divided = (x: Recorded): string[] => {
        // With the width: where the node's shape inference knows q's but not v's, it takes q for all three in one.
        const whole = reshape(rows(x.name, spread), 1, -1, x.shape[1]);
        if (sequences === 1) return [whole];
        return graph.node("Split", [whole, sizes], { outputs: sequences, attributes: { axis: { int: 1 } } });
      };
      const [qs, ks, vs] = [divided(q), divided(k), divided(v)];
      const window = Number.isFinite(options.window) ? options.window : -1;
      const parts = qs.map((q, i) => {
        const inputs = [q, ks[i], vs[i], keys[i].name, values[i].name, last[i].name, end[i].name];
        const [y, allKeys, allValues] = graph.node("GroupQueryAttention", inputs, {
          outputs: 3,
          domain: microsoft,
          attributes: {
            num_heads: { int: options.heads },
            kv_num_heads: { int: options.kvHeads },
            local_window_size: { int: window },
            scale: options.scale,
          },
        });
        keys[i].overwrite!(allKeys);
        values[i].overwrite!(allValues);
        return y;
      });
      const y = sequences === 1 ? parts[0] : node("Concat", parts, { attributes: { axis: { int: 1 } } });
      return make(rows(reshape(y, -1, q.shape[1]), gather), q.shape);
    },

    gated(gate, up, activation) {
      return make(node("Mul", [activate(gate.name, activation), up.name]), gate.shape);
    },
    gatedBackward(dy, gate, up, activation) {
      const gradients = (a: string, dgate: string) => ({
        y: make(node("Mul", [a, up.name]), gate.shape),
        dgate: make(dgate, gate.shape),
        dup: make(node("Mul", [dy.name, a]), up.shape),
      });
      if (activation === "silu") {
        // a = g*s; da/dg = s + a - a*s
        const s = node("Sigmoid", [gate.name]);
        const a = node("Mul", [gate.name, s]);
        const slope = node("Add", [s, node("Sub", [a, node("Mul", [a, s])])]);
        const dgate = node("Mul", [node("Mul", [dy.name, up.name]), slope]);
        return gradients(a, dgate);
      }
      // gelu_tanh: a = g*h with h = (1 + tanh(c*(g + k*g^3)))/2; da/dg = h + 2*c*g*h*(1-h)*(1 + 3k*g^2)
      const c = Math.sqrt(2 / Math.PI), k = 0.044715;
      const square = node("Mul", [gate.name, gate.name]);
      const inner = node("Mul", [
        gate.name,
        node("Add", [node("Mul", [square, scalar(c * k)]), scalar(c)]),
      ]);
      const h = node("Sigmoid", [node("Mul", [inner, scalar(2)])]); // (1 + tanh(z))/2 = sigmoid(2z)
      const a = node("Mul", [gate.name, h]);
      const slope = node("Add", [node("Mul", [square, scalar(6 * c * k)]), scalar(2 * c)]);
      const tail = node("Mul", [node("Sub", [a, node("Mul", [a, h])]), slope]);
      const dgate = node("Mul", [node("Mul", [dy.name, up.name]), node("Add", [h, tail])]);
      return gradients(a, dgate);
    },

    crossEntropy(h, weight, targets, { scale }) {
      // The vocabulary in slices: each is packed once for all positions, and only exp(z - m) of all slices is held.
      // loss = m + log(s) - z[target] with m = max z, s = sum exp(z - m); dh = scale * (exp(z - m)/s * W - W[target]).
      const bounds = sliceRows(weight.shape[0]), sizes = bounds.map(([start, end]) => end - start);
      const logits = bounds.map((some) => product(h.name, slice(weight, some), { transB: true }));
      const largest = node("Max", logits.map((z) => node("ReduceMax", [z, axes(1)])));
      const exps = logits.map((z) => node("Exp", [node("Sub", [z, largest])]));
      // As products with ones, which add in blocks: ReduceSum adds thousands of terms in a row and drifts.
      const width = Math.max(...sizes), ones = graph.constant("float", Array(width).fill(1), [width, 1]);
      const sum = node("Sum", exps.map((e, i) => product(e, sizes[i] === width ? ones : cut(ones, sizes[i]))));
      const label = toFloat(rows(weight.name, targets), weight);
      const chosen = node("ReduceSum", [node("Mul", [h.name, label]), axes(1)]);
      const loss = node("Sub", [node("Add", [largest, node("Log", [sum])]), chosen]);
      // Of a node's inputs ONNX Runtime first computes the one that was recorded last. Recorded here, each slice is cast
      // just before its Gemm; recorded between these, all would be cast, and held, before the first.
      const slices = bounds.map((some) => slice(weight, some));
      const weighted = exps.slice(1).reduce(
        (total, e, i) => node("Gemm", [e, slices[i + 1], total], { attributes: { alpha: 1, beta: 1 } }),
        product(exps[0], slices[0]),
      );
      const dh = node("Mul", [node("Sub", [node("Div", [weighted, sum]), label]), scalar(scale)]);
      return { loss: make(reshape(loss, -1), [h.shape[0]]), dh: make(dh, h.shape) };
    },
  };

  /** The first rows of a constant. */
  function cut(x: string, rows: number): string {
    return node("Slice", [x, axes(0), axes(rows), axes(0)]);
  }

  /** act(g), by ONNX Runtime's fused kernels. */
  function activate(gate: string, activation: Activation): string {
    return activation === "silu"
      ? node("QuickGelu", [gate], { domain: microsoft, attributes: { alpha: 1 } })
      : node("Gelu", [gate], { attributes: { approximate: { string: "tanh" } } });
  }
}

/** Rows of a vocabulary in nearly equal slices of at most 8192. */
function sliceRows(rows: number): [start: number, end: number][] {
  const count = Math.ceil(rows / 8192), size = Math.ceil(rows / count);
  return Array.from({ length: count }, (_, i) => [i * size, Math.min(rows, (i + 1) * size)]);
}
