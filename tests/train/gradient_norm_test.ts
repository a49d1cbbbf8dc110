/** Gradient norm and clipping as torch's clip_grad_norm_. */
import assert from "node:assert/strict";
import type { Parameter } from "../../lib/model/trainable.ts";
import { clipFactor, gradientNorm } from "../../lib/train/gradient_norm.ts";
import { assertClose } from "../helpers/close.ts";
import { randomFloats } from "../helpers/random.ts";

const withGrad = (grad: Float32Array): Parameter => ({
  name: "p",
  shape: [grad.length],
  value: new Float32Array(grad.length),
  grad,
});

Deno.test("gradientNorm() is the root of the sum of all squares", () => {
  const sizes = [1, 3, 4, 31, 33, 257, 1000];
  const parameters = sizes.map((size) => withGrad(randomFloats(size, size)));
  let sum = 0;
  for (const { grad } of parameters) for (const x of grad) sum += x * x;
  assertClose([gradientNorm(parameters)], [Math.sqrt(sum)], { rtol: 1e-14 });
  assert.equal(gradientNorm([withGrad(Float32Array.of(3, 0, 0, 0, 0, 4))]), 5);
});

Deno.test("gradientNorm() does not overflow where f32 squares would, and shows NaN and Infinity", () => {
  assert.equal(gradientNorm([withGrad(new Float32Array(4).fill(2 ** 100))]), 2 ** 101);
  assert.ok(Number.isNaN(gradientNorm([withGrad(Float32Array.of(1, 2, 3, 4, NaN))])));
  assert.equal(gradientNorm([withGrad(Float32Array.of(1, -Infinity, 3))]), Infinity);
});

Deno.test("clipFactor() shrinks only norms above the limit, and 0 turns it off", () => {
  assert.equal(clipFactor(4, 1), 1 / 4.000001);
  assert.equal(clipFactor(0.5, 1), 1);
  assert.equal(clipFactor(1e6, 0), 1);
});
