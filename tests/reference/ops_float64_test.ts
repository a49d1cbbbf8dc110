import assert from "node:assert/strict";
import { spansOf } from "../../lib/model/batch.ts";
import type { Rows, Segment } from "../../lib/ops.ts";
import { assertClose } from "../helpers/close.ts";
import { assertGradient, randomNumbers } from "../helpers/finite_difference.ts";
import { host, type HostValue } from "./host.ts";
import { executorFloat64, opsFloat64 as ops } from "./ops_float64.ts";

let seed = 1;
const random = (...shape: number[]) => host(randomNumbers(shape.reduce((a, b) => a * b, 1), seed++), shape);

/** sum(dy * y), the scalar whose gradient a backward operation takes. */
function inner(dy: HostValue, y: HostValue): number {
  assert.deepEqual(y.shape, dy.shape);
  return Array.from(dy.data).reduce((sum, value, i) => sum + value * y.data[i], 0);
}

/** A packed batch of rows of the given lengths. */
function packedRows(lengths: number[], window = Infinity): Rows<HostValue> {
  const positions = lengths.flatMap((length) => Array.from({ length }, (_, l) => l));
  return { spans: host(spansOf(Int32Array.from(positions), window), [positions.length, 2]) };
}

const f64 = (x: HostValue) => x.data as Float64Array;

Deno.test("rmsNorm() normalises groups and rmsNormBackward() is its gradient, for a whole width and for heads", () => {
  const y = ops.rmsNorm(host([3, 4, 0, 2], [1, 4]), host([1, 2], [2]), { eps: 0 });
  assertClose(y.data, [3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5), 0, 2 * Math.SQRT2], { rtol: 1e-15 });
  for (const [T, width, S] of [[3, 31, 31], [2, 33, 11], [1, 1, 1]]) {
    const x = random(T, width), weight = random(S), dy = random(T, width), options = { eps: 1e-3 };
    const dx = ops.rmsNormBackward(dy, x, weight, options);
    assertGradient(() => inner(dy, ops.rmsNorm(x, weight, options)), { x: f64(x), gradient: dx.data, what: "dx" });
  }
});

Deno.test("linear() multiplies by the transpose and linearBackward() is its gradient", () => {
  const y = ops.linear(host([1, 2, 3], [1, 3]), host([1, 0, -1, 2, 2, 2], [2, 3]));
  assert.deepEqual([...y.data], [-2, 12]);
  const x = random(5, 31), weight = random(33, 31), dy = random(5, 33);
  const dx = ops.linearBackward(dy, weight);
  assertGradient(() => inner(dy, ops.linear(x, weight)), { x: f64(x), gradient: dx.data, what: "dx" });
});

Deno.test("matmul() with its transposes gives both gradients of a low-rank product", () => {
  const x = random(7, 5), a = random(3, 5), b = random(11, 3), dy = random(7, 11), scale = 0.5;
  const forward = () => ops.matmul(ops.matmul(x, a, { transB: true }), b, { transB: true, scale });
  const u = ops.matmul(x, a, { transB: true });
  const db = ops.matmul(dy, u, { transA: true, scale });
  const du = ops.matmul(dy, b, { scale });
  const da = ops.matmul(du, x, { transA: true });
  const dx = ops.matmul(du, a);
  const f = () => inner(dy, forward());
  assertGradient(f, { x: f64(b), gradient: db.data, what: "dB" });
  assertGradient(f, { x: f64(a), gradient: da.data, what: "dA" });
  assertGradient(f, { x: f64(x), gradient: dx.data, what: "dx" });
});

Deno.test("matmul() with both operands transposed is the transpose of the swapped product", () => {
  const a = random(3, 5), b = random(4, 3);
  const y = ops.matmul(a, b, { transA: true, transB: true }), z = ops.matmul(b, a);
  assert.deepEqual(y.shape, [5, 4]);
  const plus = ops.matmul(a, b, { transA: true, transB: true, scale: 2, plus: y });
  assertClose(plus.data, Array.from(y.data, (value) => 3 * value), { rtol: 1e-15 });
  for (let i = 0; i < 5; i++) for (let j = 0; j < 4; j++) assert.equal(y.data[i * 4 + j], z.data[j * 5 + i]);
});

Deno.test("rope() turns pairs (s, s + S/2) and its inverse is its gradient", () => {
  const quarter = ops.rope(host([1, 2, 3, 4], [1, 4]), host([0, 1], [1, 2]), host([1, 0], [1, 2]), { heads: 1 });
  assert.deepEqual([...quarter.data], [-3, 2, 1, 4]);
  const T = 5, heads = 3, S = 6, angles = random(T, S / 2);
  const cos = host(f64(angles).map(Math.cos), [T, S / 2]), sin = host(f64(angles).map(Math.sin), [T, S / 2]);
  const x = random(T, heads * S), dy = random(T, heads * S);
  const dx = ops.rope(dy, cos, sin, { heads, inverse: true });
  assertGradient(() => inner(dy, ops.rope(x, cos, sin, { heads })), { x: f64(x), gradient: dx.data, what: "dx" });
  assertClose(ops.rope(ops.rope(x, cos, sin, { heads }), cos, sin, { heads, inverse: true }).data, x.data, {
    rtol: 1e-14,
  });
});

Deno.test("attention() keeps to a row, to the past and to the window, and shares key heads by groups", () => {
  const heads = 4, kvHeads = 2, S = 3, lengths = [1, 6, 4], options = { heads, kvHeads, scale: 0.7 };
  const q = random(11, heads * S), k = random(11, kvHeads * S), v = random(11, kvHeads * S);
  const y = ops.attention(q, k, v, packedRows(lengths, 3), options);
  let start = 0;
  for (const length of lengths) {
    for (let l = 0; l < length; l++) {
      for (let h = 0; h < heads; h++) {
        const g = h < 2 ? 0 : 1, t = start + l, weights: number[] = [];
        const keys = [t - 2, t - 1, t].filter((u) => u >= start);
        for (const u of keys) {
          let score = 0;
          for (let s = 0; s < S; s++) score += 0.7 * q.data[t * 12 + h * 3 + s] * k.data[u * 6 + g * 3 + s];
          weights.push(Math.exp(score));
        }
        const sum = weights.reduce((a, b) => a + b);
        const expected = [0, 1, 2].map((s) =>
          keys.reduce((y, u, i) => y + weights[i] / sum * v.data[u * 6 + g * 3 + s], 0)
        );
        assertClose(y.data.slice(t * 12 + h * 3, t * 12 + h * 3 + 3), expected, { rtol: 1e-13, what: `token ${t}` });
      }
    }
    start += length;
  }
});

Deno.test("attentionBackward() is the gradient of attention() over q, k and v", () => {
  const cases = [
    { heads: 4, kvHeads: 2, S: 3, lengths: [5, 1, 7], window: Infinity },
    { heads: 6, kvHeads: 2, S: 2, lengths: [2, 6], window: 3 },
    { heads: 3, kvHeads: 3, S: 5, lengths: [4], window: 1 },
  ];
  for (const { heads, kvHeads, S, lengths, window } of cases) {
    const T = lengths.reduce((a, b) => a + b), options = { heads, kvHeads, scale: 0.6 };
    const q = random(T, heads * S), k = random(T, kvHeads * S), v = random(T, kvHeads * S), dy = random(T, heads * S);
    const rows = packedRows(lengths, window);
    const { y, dq, dk, dv } = ops.attentionBackward(dy, q, k, v, rows, options);
    assert.deepEqual(y, ops.attention(q, k, v, rows, options));
    const f = () => inner(dy, ops.attention(q, k, v, rows, options));
    assertGradient(f, { x: f64(q), gradient: dq.data, what: "dq" });
    assertGradient(f, { x: f64(k), gradient: dk.data, what: "dk" });
    assertGradient(f, { x: f64(v), gradient: dv.data, what: "dv" });
  }
});

Deno.test("attentionCached() gives new tokens what attention() gives them in the whole rows", () => {
  const heads = 4, kvHeads = 2, S = 3, lengths = [5, 2, 7], fresh = [1, 2, 4], C = 9;
  const T = 14, G = kvHeads * S, D = heads * S;
  for (const window of [Infinity, 2]) {
    const q = random(T, D), k = random(T, G), v = random(T, G), options = { heads, kvHeads, scale: 0.6 };
    const whole = ops.attention(q, k, v, packedRows(lengths, window), options);
    const keys = random(3, C, G), values = random(3, C, G), spans: number[] = [], index: number[] = [];
    const isNew: number[] = [];
    let start = 0;
    lengths.forEach((length, b) => {
      for (let l = 0; l < length; l++) {
        if (l >= length - fresh[b]) {
          isNew.push(start + l);
          index.push(b * C + l);
          spans.push(b * C + Math.max(0, l - window + 1), b * C + l + 1);
          continue;
        }
        for (let i = 0; i < G; i++) {
          keys.data[(b * C + l) * G + i] = k.data[(start + l) * G + i];
          values.data[(b * C + l) * G + i] = v.data[(start + l) * G + i];
        }
      }
      start += length;
    });
    const [chosen, places] = [isNew, index].map((list) => host(Int32Array.from(list), [list.length]));
    const table = { keys, values, index: places, spans: host(Int32Array.from(spans), [index.length, 2]) };
    const [qs, ks, vs] = [q, k, v].map((x) => ops.gatherRows(x, chosen));
    const y = ops.attentionCached(qs, ks, vs, { table }, { ...options, window });
    assertClose(y.data, ops.gatherRows(whole, chosen).data, { rtol: 1e-13 });
    const rows = { ...keys, shape: [3 * C, G] };
    assert.deepEqual(ops.gatherRows(rows, places).data, ks.data, "the new keys are stored");
  }
});

Deno.test("gated() applies silu and tanh-gelu and gatedBackward() is its gradient", () => {
  const one = host([1, 1], [1, 2]), gate = host([1, -2], [1, 2]);
  assertClose(ops.gated(gate, one, "silu").data, [0.7310585786300049, -0.23840584404423515], { rtol: 1e-14 });
  // torch.nn.functional.gelu(approximate="tanh")
  assertClose(ops.gated(gate, one, "gelu_tanh").data, [0.8411919906082768, -0.04540230591222268], { rtol: 1e-12 });
  for (const activation of ["silu", "gelu_tanh"] as const) {
    const gate = random(3, 31), up = random(3, 31), dy = random(3, 31);
    const { dgate, dup } = ops.gatedBackward(dy, gate, up, activation);
    const f = () => inner(dy, ops.gated(gate, up, activation));
    assertGradient(f, { x: f64(gate), gradient: dgate.data, what: `${activation} dgate` });
    assertGradient(f, { x: f64(up), gradient: dup.data, what: `${activation} dup` });
  }
});

Deno.test("crossEntropy() is -log softmax at the target and dh is the gradient of the scaled sum", () => {
  const even = ops.crossEntropy(host([0, 0], [1, 2]), random(33, 2), host(Int32Array.of(4), [1]), { scale: 1 });
  assertClose(even.loss.data, [Math.log(33)], { rtol: 1e-14 });
  const h = random(5, 7), weight = random(33, 7), targets = host(Int32Array.of(0, 32, 5, 5, 17), [5]), scale = 0.3;
  const { dh } = ops.crossEntropy(h, weight, targets, { scale });
  const f = () => scale * f64(ops.crossEntropy(h, weight, targets, { scale }).loss).reduce((a, b) => a + b, 0);
  assertGradient(f, { x: f64(h), gradient: dh.data, what: "dh" });
});

Deno.test("scatterRows() is the gradient of gatherRows() for distinct indices", () => {
  const table = random(9, 3), index = host(Int32Array.of(8, 0, 4), [3]), dy = random(3, 3);
  const f = () => inner(dy, ops.gatherRows(table, index));
  assertGradient(f, { x: f64(table), gradient: ops.scatterRows(dy, index, table).data, what: "dtable" });
  assert.throws(() => ops.scatterRows(dy, host(Int32Array.of(1, 1, 2), [3]), table), /repeated/);
});

Deno.test("add() and mul() broadcast a vector over rows, and sumRows() is the vector's gradient", () => {
  const x = random(4, 3), bias = random(3), dy = random(4, 3);
  const sum = () => inner(dy, ops.add(x, bias)), product = () => inner(dy, ops.mul(x, bias));
  assertGradient(sum, { x: f64(bias), gradient: ops.sumRows(dy).data, what: "dbias" });
  assertGradient(product, { x: f64(bias), gradient: ops.sumRows(ops.mul(dy, x)).data, what: "dfactor" });
  assert.deepEqual([...ops.div(host([1, 6], [1, 2]), host([4, 3], [1, 2])).data], [0.25, 2]);
  assert.deepEqual([...ops.scale(host([1, -6], [1, 2]), 0.5).data], [0.5, -3]);
  assert.throws(() => ops.add(x, random(4)), /shape \[4\], expected \[3\]/);
});

Deno.test("adaptedRowNorm() is the L2 norm of each row of W + scale*B*A", () => {
  const y = ops.adaptedRowNorm(host([1, 0, 0, 2], [2, 2]), host([1, 1], [1, 2]), host([4, 0], [2, 1]), { scale: 0.5 });
  assertClose(y.data, [Math.sqrt(9 + 4), 2], { rtol: 1e-15 });
});

Deno.test("executorFloat64() decodes NF4, runs segments and sees later writes to host data", async () => {
  const executor = executorFloat64();
  // Codes 15, 0 | 7, 8 | 7, 7 ...: 1, -1, 0, 0.0795..., times the absmax of 64 elements.
  const packed = new Uint8Array(64).fill(0x77);
  packed.set([0xf0, 0x78]);
  packed[32] = 0xf7;
  const weight = executor.weight({ kind: "nf4", shape: [2, 64], packed, absmax: Float32Array.of(2, 3) });
  const data = new Float32Array(128);
  data[0] = 1;
  const x = executor.tensor(data, [2, 64]);
  const segment: Segment = { key: "test", build: (ops, { x, weight }) => ({ y: ops.linear(x, weight) }) };
  const { y } = await executor.run(segment, { x, weight });
  assertClose(await executor.read(y), [2, 3, 0, 0], { rtol: 1e-7 });
  data[64 + 1] = 10;
  data[64 + 3] = 1;
  const into = executor.tensor(new Float32Array(4), [2, 2]);
  const again = await executor.run(segment, { x, weight }, { y: into });
  assert.equal(again.y, into);
  assertClose(await executor.read(into), [2, 3, -20 + 2 * 0.07958029955625534, 0], { rtol: 1e-6 });
  await executor.dispose();
});
