/** Norm kernels against the float64 reference. */
import assert from "node:assert/strict";
import { assertClose } from "../helpers/close.ts";
import { type FloatType, operand, operandOf, rounding } from "../helpers/operand.ts";
import { gpuTest, output, runDispatches } from "../helpers/webgpu.ts";
import { rmsNorm, rmsNormBackward, rowNorm } from "../../lib/webgpu/norm_kernels.ts";
import { host, type HostValue } from "../reference/host.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

const eps = 1e-5;

/**
 * From one lane a group to a whole workgroup, odd widths; types of x, of weight and dy, of the result. Groups that are
 * shared out alike have the same types here: compiling takes the longest.
 */
const cases: { T: number; n: number; S: number; types: [FloatType, FloatType, FloatType] }[] = [
  { T: 1, n: 1, S: 576, types: ["f32", "f32", "f32"] },
  { T: 5, n: 4, S: 24, types: ["f16", "f32", "f16"] },
  { T: 17, n: 3, S: 64, types: ["f16", "f32", "f16"] },
  { T: 3, n: 2, S: 128, types: ["f16", "f32", "f16"] },
  { T: 17, n: 1, S: 131, types: ["f16", "f16", "f32"] },
  { T: 300, n: 1, S: 1, types: ["f32", "f16", "f32"] },
  { T: 2, n: 1, S: 4096, types: ["f32", "f32", "f16"] },
  { T: 1, n: 1, S: 16384, types: ["f32", "f32", "f16"] },
];

/**
 * A sum of S numbers of one sign: on its way to the result a number passes S/256 additions of its lane at most, 5 over
 * a vector, 15 down a column and 16 along the row. Products, inverseSqrt and the mean fit into what rounding up leaves.
 */
const sumError = (S: number) => (S / 256 + 44) * 2 ** -24;

gpuTest("rmsNorm() of whole rows and of heads", async (gpu) => {
  for (const { T, n, S, types: [typeX, typeW, typeY] } of cases) {
    const x = operand([T, n * S], 1, { dtype: typeX, factor: 3 }), weight = operand([S], 2, { dtype: typeW });
    const y = output([T, n * S], typeY);
    const [found] = await runDispatches(gpu, [rmsNorm(x.tensor, weight.tensor, y, { eps })], [y]);
    const expected = opsFloat64.rmsNorm(x.value, weight.value, { eps });
    const { rtol, atol } = rounding[typeY], what = `[${T}, ${n} * ${S}] ${typeX} ${typeW} ${typeY}`;
    assertClose(found, expected.data, { rtol: rtol + sumError(S), atol, what });
  }
});

/** The largest r and the largest r*|x| of all groups. */
function largest(x: HostValue, S: number): { r: number; ratio: number } {
  const normed = opsFloat64.rmsNorm(x, host(new Float64Array(S).fill(1), [S]), { eps }).data;
  let r = 0, ratio = 0;
  normed.forEach((value, i) => {
    r = Math.max(r, value / x.data[i]);
    ratio = Math.max(ratio, Math.abs(value));
  });
  return { r, ratio };
}

gpuTest("rmsNormBackward() with and without a tensor added, and once more in f16", async (gpu) => {
  for (const { T, n, S, types: [typeX, typeW, typeDx] } of cases) {
    const shape = [T, n * S];
    const x = operand(shape, 1, { dtype: typeX, factor: 3 }), weight = operand([S], 2, { dtype: typeW });
    const dy = operand(shape, 3, { dtype: typeW }), plus = operand(shape, 4, { dtype: typeX });
    const alone = output(shape, typeDx), added = output(shape, typeDx), half = output(shape, "f16");
    const [found, foundSum, foundHalf] = await runDispatches(gpu, [
      rmsNormBackward(dy.tensor, x.tensor, weight.tensor, alone, { eps }),
      rmsNormBackward(dy.tensor, x.tensor, weight.tensor, added, { eps, plus: plus.tensor, half }),
    ], [alone, added, half]);
    const expected = opsFloat64.rmsNormBackward(dy.value, x.value, weight.value, { eps });
    // |w*dy| < 1 and r*mean|w*dy*x| < 1, so that the two terms, which may cancel, are below r and r * r|x|; the second
    // holds two sums.
    const { r, ratio } = largest(x.value, S), { rtol, atol } = rounding[typeDx];
    const what = `[${T}, ${n} * ${S}] ${typeX} ${typeW} ${typeDx}`;
    const options = { rtol, atol: atol + r * (1 + 2 * ratio) * sumError(S), what };
    assertClose(found, expected.data, options);
    assertClose(foundSum, opsFloat64.add(expected, plus.value).data, { ...options, what: `${what} + plus` });
    assertClose(foundHalf, Float32Array.from(new Float16Array(foundSum)), { rtol: 0, what: `${what} in f16` });
  }
});

gpuTest("rmsNorm() of zeros is zero, its gradient finite", async (gpu) => {
  const x = operandOf([3, 64], new Float32Array(192)), weight = operand([64], 2), dy = operand([3, 64], 3);
  const y = output([3, 64]), dx = output([3, 64]);
  const [found, gradient] = await runDispatches(gpu, [
    rmsNorm(x.tensor, weight.tensor, y, { eps }),
    rmsNormBackward(dy.tensor, x.tensor, weight.tensor, dx, { eps }),
  ], [y, dx]);
  assert.ok(found.every((value) => value === 0));
  const expected = opsFloat64.rmsNormBackward(dy.value, x.value, weight.value, { eps });
  assertClose(gradient, expected.data, { rtol: sumError(64) });
});

gpuTest("rowNorm()", async (gpu) => {
  const types: [FloatType, FloatType][] = [["f32", "f32"], ["f16", "f32"], ["f16", "f16"]];
  for (const [i, [O, I]] of [[1, 33], [17, 72], [131, 576], [3, 4097], [2, 14336]].entries()) {
    const [typeX, typeY] = types[i % 3];
    const x = operand([O, I], 1, { dtype: typeX }), y = output([O], typeY);
    const [found] = await runDispatches(gpu, [rowNorm(x.tensor, y)], [y]);
    const expected = Array.from({ length: O }, (_, o) => Math.hypot(...x.value.data.subarray(o * I, (o + 1) * I)));
    const { rtol, atol } = rounding[typeY];
    assertClose(found, expected, { rtol: rtol + sumError(I), atol, what: `[${O}, ${I}] ${typeX} ${typeY}` });
  }
});
