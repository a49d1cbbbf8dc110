/** Gated activation kernels against the float64 reference. */
import { assertClose } from "../helpers/close.ts";
import { type FloatType, operand, operandOf, rounding } from "../helpers/operand.ts";
import { gpuTest, output, runDispatches } from "../helpers/webgpu.ts";
import type { Activation } from "../../lib/ops.ts";
import { gated, gatedBackwardInPlace } from "../../lib/webgpu/gated_kernels.ts";
import { opsFloat64 } from "../reference/ops_float64.ts";

const activations: Activation[] = ["silu", "gelu_tanh"];

/** Of dy, gate, up and what comes in their place; of gated()'s y. */
const types: [FloatType, FloatType][] = [["f32", "f32"], ["f16", "f16"], ["f16", "f32"]];

/**
 * exp(-w) may be wrong by 3 + 2w units in the last place, w <= 9 in silu; in gelu it no longer counts against 1 beyond
 * w = 17. Nothing else is near that, and the largest factor it meets is a gate below 9.
 */
const expError = 9 * (3 + 2 * 17) * 2 ** -23;

gpuTest("gated() and gatedBackwardInPlace()", async (gpu) => {
  for (const activation of activations) {
    for (const [i, shape] of [[17, 131], [1, 576], [5, 72]].entries()) {
      const [typeX, typeY] = types[i], options = { dtype: typeX };
      const gate = operand(shape, 1, { ...options, factor: 9 });
      const up = operand(shape, 2, options), dy = operand(shape, 3, options);
      const y = output(shape, typeY);
      const [found, foundAgain, foundGate, foundUp] = await runDispatches(gpu, [
        gated(gate.tensor, up.tensor, y, activation),
        gatedBackwardInPlace(dy.tensor, gate.tensor, up.tensor, activation),
      ], [y, dy.tensor, gate.tensor, up.tensor]);
      const close = (type: FloatType) => ({ rtol: rounding[type].rtol, atol: rounding[type].atol + expError });
      const expected = opsFloat64.gatedBackward(dy.value, gate.value, up.value, activation);
      const what = `${activation} [${shape}] ${typeX} ${typeY}`;
      assertClose(found, opsFloat64.gated(gate.value, up.value, activation).data, { ...close(typeY), what });
      assertClose(foundAgain, expected.y.data, { ...close(typeX), what: `${what} again` });
      assertClose(foundGate, expected.dgate.data, { ...close(typeX), what: `${what} dgate` });
      assertClose(foundUp, expected.dup.data, { ...close(typeX), what: `${what} dup` });
    }
  }
});

gpuTest("gated() and gatedBackwardInPlace() where exponentials would overflow or vanish", async (gpu) => {
  const gates = [0, 20, -20, 88, -88, 89, -89, 200, -200, 6.5e4, -6.5e4, 1e13, -1e13, 1e30, -1e30];
  const shape = [1, gates.length], ones = new Float32Array(gates.length).fill(1);
  const gate = operandOf(shape, Float32Array.from(gates)), up = operandOf(shape, ones), dy = operandOf(shape, ones);
  for (const activation of activations) {
    const y = output(shape);
    const [found, foundAgain, foundGate, foundUp] = await runDispatches(gpu, [
      gated(gate.tensor, up.tensor, y, activation),
      gatedBackwardInPlace(dy.tensor, gate.tensor, up.tensor, activation),
    ], [y, dy.tensor, gate.tensor, up.tensor]);
    const value = gates.map((x) => activation === "silu" ? x / (1 + Math.exp(-x)) : x > 0 ? x : 0);
    const slope = gates.map((x) => x === 0 ? 0.5 : x > 0 ? 1 : 0);
    // Limits instead of the reference, which overflows; slopes and gelu at 20 and -20 are within 5e-8 of them.
    const close = { rtol: 2 ** -22, atol: 1e-7 };
    assertClose(found, value, { ...close, what: activation });
    assertClose(foundAgain, value, { ...close, what: `${activation} again` });
    assertClose(foundUp, value, { ...close, what: `${activation} dup` });
    assertClose(foundGate, slope, { ...close, what: `${activation} dgate` });
  }
});
