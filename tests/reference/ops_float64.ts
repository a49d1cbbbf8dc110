/**
 * The truth that executors are tested against: every operation of `Ops` as textbook loops in float64, run at once.
 *
 * Slow on purpose: one loop per index of the formula in lib/ops.ts, no blocking, no fusing. Attention stands in
 * attention_float64.ts. Results are Float64Array; host data given to `tensor` is read where it lies, so that later
 * writes to it are seen. Shapes are checked on entry of every operation.
 */
import type { Activation, Executor, Ops, Segment, WeightData } from "../../lib/ops.ts";
import { recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { attention, attentionBackward, attentionCached } from "./attention_float64.ts";
import { expectShape, host, type HostValue, zeros } from "./host.ts";

/** f(a, b) by element; b has a's shape or is a vector over a's last axis. */
function zip(op: string, a: HostValue, b: HostValue, f: (a: number, b: number) => number): HostValue {
  const vector = b.shape.length === 1 && a.shape.length > 1;
  expectShape(op, b, vector ? [a.shape[a.shape.length - 1]] : [...a.shape]);
  const y = zeros(...a.shape);
  for (let i = 0; i < a.data.length; i++) y.data[i] = f(a.data[i], b.data[i % b.data.length]);
  return y;
}

function gatherRows(table: HostValue, index: HostValue): HostValue {
  expectShape("gatherRows table", table, [null, null]);
  expectShape("gatherRows index", index, [null]);
  const [M, D] = table.shape, [N] = index.shape;
  const y = zeros(N, D);
  for (let n = 0; n < N; n++) {
    const row = index.data[n];
    if (!(row >= 0 && row < M)) throw new Error(`gatherRows: index ${row} of ${M} rows`);
    for (let d = 0; d < D; d++) y.data[n * D + d] = table.data[row * D + d];
  }
  return y;
}

function scatterRows(x: HostValue, index: HostValue, like: HostValue): HostValue {
  const [N, D] = x.shape, [M] = like.shape;
  expectShape("scatterRows x", x, [null, null]);
  expectShape("scatterRows index", index, [N]);
  expectShape("scatterRows like", like, [null, D]);
  const y = zeros(M, D);
  const seen = new Set<number>();
  for (let n = 0; n < N; n++) {
    const row = index.data[n];
    if (!(row >= 0 && row < M) || seen.has(row)) throw new Error(`scatterRows: index ${row} out of range or repeated`);
    seen.add(row);
    for (let d = 0; d < D; d++) y.data[row * D + d] = x.data[n * D + d];
  }
  return y;
}

function sumRows(x: HostValue): HostValue {
  expectShape("sumRows", x, [null, null]);
  const [T, O] = x.shape;
  const y = zeros(O);
  for (let t = 0; t < T; t++) for (let o = 0; o < O; o++) y.data[o] += x.data[t * O + o];
  return y;
}

/** Groups of weight.length along the last axis: their number over all rows, and 1/sqrt(mean(x^2) + eps) of one. */
function groups(op: string, x: HostValue, weight: HostValue, eps: number) {
  expectShape(op, weight, [null]);
  const [S] = weight.shape;
  if (x.shape[x.shape.length - 1] % S !== 0) throw new Error(`${op}: width of [${x.shape}] is no multiple of ${S}`);
  const inverse = (g: number) => {
    let sum = 0;
    for (let s = 0; s < S; s++) sum += x.data[g * S + s] ** 2;
    return 1 / Math.sqrt(sum / S + eps);
  };
  return { S, count: x.data.length / S, inverse };
}

function rmsNorm(x: HostValue, weight: HostValue, { eps }: { eps: number }): HostValue {
  const { S, count, inverse } = groups("rmsNorm", x, weight, eps);
  const y = zeros(...x.shape);
  for (let g = 0; g < count; g++) {
    const r = inverse(g);
    for (let s = 0; s < S; s++) y.data[g * S + s] = x.data[g * S + s] * r * weight.data[s];
  }
  return y;
}

function rmsNormBackward(dy: HostValue, x: HostValue, weight: HostValue, { eps }: { eps: number }): HostValue {
  expectShape("rmsNormBackward dy", dy, [...x.shape]);
  const { S, count, inverse } = groups("rmsNormBackward", x, weight, eps);
  const dx = zeros(...x.shape);
  for (let g = 0; g < count; g++) {
    const r = inverse(g);
    let mean = 0;
    for (let s = 0; s < S; s++) mean += weight.data[s] * dy.data[g * S + s] * x.data[g * S + s] / S;
    for (let s = 0; s < S; s++) {
      const i = g * S + s;
      dx.data[i] = r * (weight.data[s] * dy.data[i] - x.data[i] * r * r * mean);
    }
  }
  return dx;
}

function matmul(
  a: HostValue,
  b: HostValue,
  { transA = false, transB = false, scale = 1, plus }: Parameters<Ops<HostValue>["matmul"]>[2] = {},
): HostValue {
  expectShape("matmul a", a, [null, null]);
  expectShape("matmul b", b, transB ? [null, a.shape[transA ? 0 : 1]] : [a.shape[transA ? 0 : 1], null]);
  const [M, K] = transA ? [a.shape[1], a.shape[0]] : a.shape;
  const N = transB ? b.shape[0] : b.shape[1];
  if (plus) expectShape("matmul plus", plus, [M, N]);
  const y = zeros(M, N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) {
        sum += a.data[transA ? k * M + m : m * K + k] * b.data[transB ? n * K + k : k * N + n];
      }
      y.data[m * N + n] = scale * sum + (plus ? plus.data[m * N + n] : 0);
    }
  }
  return y;
}

function adaptedRowNorm(weight: HostValue, a: HostValue, b: HostValue, { scale }: { scale: number }): HostValue {
  const product = matmul(b, a, { scale });
  const adapted = zip("adaptedRowNorm", product, weight, (ba, w) => w + ba);
  const [O, I] = adapted.shape;
  const y = zeros(O);
  for (let o = 0; o < O; o++) {
    for (let i = 0; i < I; i++) y.data[o] += adapted.data[o * I + i] ** 2;
    y.data[o] = Math.sqrt(y.data[o]);
  }
  return y;
}

function rope(
  x: HostValue,
  cos: HostValue,
  sin: HostValue,
  { heads, inverse = false }: { heads: number; inverse?: boolean },
): HostValue {
  const [T, width] = x.shape, S = width / heads, half = S / 2;
  expectShape("rope x", x, [null, null]);
  expectShape("rope cos", cos, [T, half]);
  expectShape("rope sin", sin, [T, half]);
  const y = zeros(T, width);
  for (let t = 0; t < T; t++) {
    for (let h = 0; h < heads; h++) {
      for (let s = 0; s < half; s++) {
        const i1 = t * width + h * S + s, i2 = i1 + half;
        const c = cos.data[t * half + s], d = (inverse ? -1 : 1) * sin.data[t * half + s];
        y.data[i1] = x.data[i1] * c - x.data[i2] * d;
        y.data[i2] = x.data[i2] * c + x.data[i1] * d;
      }
    }
  }
  return y;
}

/** Value and derivative of an activation at x. */
function activate(x: number, activation: Activation): [number, number] {
  if (activation === "silu") {
    const s = 1 / (1 + Math.exp(-x));
    return [x * s, s * (1 + x * (1 - s))];
  }
  const c = Math.sqrt(2 / Math.PI), k = 0.044715;
  const t = Math.tanh(c * (x + k * x ** 3));
  return [0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * k * x * x)];
}

function gatedBackward(dy: HostValue, gate: HostValue, up: HostValue, activation: Activation) {
  expectShape("gatedBackward gate", gate, [...dy.shape]);
  expectShape("gatedBackward up", up, [...dy.shape]);
  const y = zeros(...dy.shape), dgate = zeros(...dy.shape), dup = zeros(...dy.shape);
  for (let i = 0; i < dy.data.length; i++) {
    const [value, slope] = activate(gate.data[i], activation);
    y.data[i] = value * up.data[i];
    dgate.data[i] = dy.data[i] * up.data[i] * slope;
    dup.data[i] = dy.data[i] * value;
  }
  return { y, dgate, dup };
}

function crossEntropy(h: HostValue, weight: HostValue, targets: HostValue, { scale }: { scale: number }) {
  const [N] = h.shape, [V] = weight.shape;
  expectShape("crossEntropy targets", targets, [N]);
  const logits = matmul(h, weight, { transB: true });
  const loss = zeros(N), dlogits = zeros(N, V);
  for (let n = 0; n < N; n++) {
    const row = Array.from(logits.data.subarray(n * V, (n + 1) * V));
    const target = targets.data[n];
    if (!(target >= 0 && target < V)) throw new Error(`crossEntropy: target ${target} of ${V}`);
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    let sum = 0;
    for (let v = 0; v < V; v++) sum += Math.exp(row[v] - top);
    loss.data[n] = Math.log(sum) + top - row[target];
    for (let v = 0; v < V; v++) {
      dlogits.data[n * V + v] = scale * (Math.exp(row[v] - top) / sum - (v === target ? 1 : 0));
    }
  }
  return { loss, dh: matmul(dlogits, weight) };
}

export const opsFloat64: Ops<HostValue> = {
  gatherRows,
  scatterRows,
  sumRows,
  add: (a, b) => zip("add", a, b, (x, y) => x + y),
  mul: (a, b) => zip("mul", a, b, (x, y) => x * y),
  div: (a, b) => zip("div", a, b, (x, y) => x / y),
  scale: (x, factor) => zip("scale", x, x, (value) => factor * value),
  rmsNorm,
  rmsNormBackward,
  linear: (x, weight) => matmul(x, weight, { transB: true }),
  linearBackward: (dy, weight) => matmul(dy, weight),
  matmul,
  adaptedRowNorm,
  rope,
  attention,
  attentionBackward,
  attentionCached,
  gated: (gate, up, activation) => zip("gated", gate, up, (g, u) => activate(g, activation)[0] * u),
  gatedBackward,
  crossEntropy,
};

/** An executor that runs segments at once with `opsFloat64`; `weight` dequantises NF4 to f32 values. */
export function executorFloat64(): Executor {
  return {
    description: "float64 reference",
    paddedAttention: false,
    largeSegments: false,
    promptsThroughCache: false,
    tensor: (data, shape) => host(data, shape),
    weight: (data) =>
      host(data.kind === "f32" ? data.data : data.kind === "half" ? widened(data) : dequantized(data), data.shape),
    // deno-lint-ignore require-await
    async run(segment: Segment, inputs, into = {}) {
      const outputs = segment.build(opsFloat64, { ...segment.fixed, ...inputs } as Record<string, HostValue>);
      for (const [name, target] of Object.entries(into)) {
        expectShape(`${segment.key}: ${name}`, outputs[name], [...target.shape]);
        (target as HostValue).data.set(outputs[name].data);
        outputs[name] = target as HostValue;
      }
      return outputs;
    },
    read: (value) => Promise.resolve(Float32Array.from((value as HostValue).data)),
    readAll: (values) => Promise.resolve(values.map((value) => Float32Array.from((value as HostValue).data))),
    write: (value, data) => (value as HostValue).data.set(data),
    accumulate(into, from) {
      expectShape("accumulate", from, [...into.shape]);
      const { data } = into as HostValue;
      (from as HostValue).data.forEach((x, i) => data[i] += x);
    },
    storeRows(table, rows, index) {
      const width = table.shape[table.shape.length - 1];
      expectShape("storeRows", rows, [index.shape[0], width]);
      const { data } = rows as HostValue;
      (index as HostValue).data.forEach((row, n) => {
        (table as HostValue).data.set(data.subarray(n * width, (n + 1) * width), row * width);
      });
    },
    release: () => {},
    trim: () => {},
    dispose: () => Promise.resolve(),
  };
}

/** NF4's 16 values (QLoRA, appendix E). */
const nf4 = [
  [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453],
  [-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0],
  [0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224],
  [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0],
].flat();

/** A bfloat16 is the upper half of an f32; an f16 is JavaScript's own. */
function widened({ format, data }: WeightData & { kind: "half" }): Float32Array {
  if (format === "f16") return Float32Array.from(new Float16Array(data.slice().buffer));
  return new Float32Array(Uint32Array.from(data, (pattern) => pattern << 16).buffer);
}

function dequantized({ packed, absmax, shape: [O, I] }: WeightData & { kind: "nf4" }): Float32Array {
  const w = new Float32Array(O * I), maxima = absmax instanceof Float32Array ? absmax : recoverAbsmax(absmax);
  for (let i = 0; i < w.length; i++) w[i] = nf4[packed[i >> 1] >> (i % 2 === 0 ? 4 : 0) & 15] * maxima[i >> 6];
  return w;
}
