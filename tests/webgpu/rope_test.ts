/** The rotary embedding kernel against the float64 reference. */
import { assertClose } from "../helpers/close.ts";
import { type FloatType, operand, operandOf, rounding } from "../helpers/operand.ts";
import { gpuTest, output, runDispatches } from "../helpers/webgpu.ts";
import { rope } from "../../lib/webgpu/rope_kernels.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

gpuTest("rope() and its inverse, whole vectors and odd halves", async (gpu) => {
  const types: [FloatType, FloatType, FloatType][] = [
    ["f32", "f32", "f32"],
    ["f16", "f32", "f16"],
    ["f32", "f16", "f16"],
    ["f16", "f32", "f32"],
  ];
  for (const [i, [T, heads, half]] of [[1, 9, 32], [17, 3, 64], [33, 1, 3], [5, 4, 18]].entries()) {
    const [typeX, typeAngle, typeY] = types[i];
    const angles = Float32Array.from({ length: T * half }, (_, k) => Math.floor(k / half) * 0.7 ** (k % half) + k);
    const cos = operandOf([T, half], angles.map(Math.cos), typeAngle);
    const sin = operandOf([T, half], angles.map(Math.sin), typeAngle);
    const x = operand([T, heads * 2 * half], 1, { dtype: typeX });
    for (const inverse of [false, true]) {
      const y = output(x.tensor.shape, typeY);
      const call = rope(x.tensor, cos.tensor, sin.tensor, y, { heads, inverse });
      const [found] = await runDispatches(gpu, [call], [y]);
      const expected = opsFloat64.rope(x.value, cos.value, sin.value, { heads, inverse });
      // Two products below 1 that may cancel, and their sum.
      const { rtol, atol } = rounding[typeY], what = `[${T}, ${heads} * ${2 * half}] inverse ${inverse}`;
      assertClose(found, expected.data, { rtol, atol: atol + 4 * 2 ** -24, what });
    }
  }
});
