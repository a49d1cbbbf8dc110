// What is quantised is what llama.cpp's reference quantises, byte for byte; by golden blocks, and by llama.cpp itself.
import assert from "node:assert/strict";
import fc from "fast-check";
import { toFloat32 } from "../../lib/quant/decode.ts";
import { encodeQ4_K, encodeQ5_K, encodeQ6_K } from "../../lib/quant/encode_k.ts";
import { encodeQ4_0, encodeQ5_0, encodeQ5_1 } from "../../lib/quant/encode_q4_q5.ts";
import { encodeQ8_0 } from "../../lib/quant/q8_0.ts";
import { openGgml } from "../helpers/ggml.ts";
import { differences, goldenGguf } from "../helpers/golden.ts";
import { randomFloats } from "../helpers/random.ts";

const encoders = {
  Q4_0: encodeQ4_0,
  Q5_0: encodeQ5_0,
  Q5_1: encodeQ5_1,
  Q8_0: encodeQ8_0,
  Q4_K: encodeQ4_K,
  Q5_K: encodeQ5_K,
  Q6_K: encodeQ6_K,
};
const types = Object.keys(encoders) as (keyof typeof encoders)[];
const ggml = await openGgml();

Deno.test("every encoder gives llama.cpp's reference blocks bit for bit", async (test) => {
  const golden = goldenGguf("gguf/k_quants.gguf"), x = golden.f32("x");
  for (const type of types.filter((type) => type !== "Q8_0")) {
    await test.step(type, () => assert.equal(differences(encoders[type](x), golden.bytes(`x.${type}`)), 0));
  }
  golden.close();
});

/** Rows of 256: magnitudes from subnormal to 1e6, some of few distinct values, some with groups of zeros. */
const rows = fc.oneof(
  fc.float32Array({ minLength: 256, maxLength: 256, noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }),
  fc.array(fc.constantFrom(0, -0, 1, -1, 0.5, 3e-39, -7, 1e-20), { minLength: 256, maxLength: 256 }).map((values) =>
    Float32Array.from(values)
  ),
  fc.tuple(fc.integer(), fc.double({ min: -44, max: 6, noNaN: true }), fc.integer({ min: 0, max: 256 })).map(
    ([seed, exponent, zeros]) => randomFloats(256, seed).map((value, i) => i < zeros ? 0 : value * 10 ** exponent),
  ),
);

Deno.test({
  name: "every encoder gives llama.cpp's blocks for any numbers",
  ignore: ggml === null,
  fn: () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(...types), (x, type) => {
        const expected = ggml!.quantize(x as Float32Array<ArrayBuffer>, type, 256);
        assert.deepEqual(encoders[type](x), expected, type);
      }),
      { numRuns: 3000 },
    );
  },
});

Deno.test("what was decoded and encoded again stays within a step", () => {
  for (const type of types) {
    const x = randomFloats(1024, 5).map((value) => value * 0.05);
    const once = toFloat32(encoders[type](x), { dtype: type, count: x.length });
    const again = toFloat32(encoders[type](once), { dtype: type, count: x.length });
    const rms = (a: Float32Array, b: Float32Array) => Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0));
    // Numbers that lie on a grid already are found again, or nearly: far closer than the grid is to what it came from.
    const ratio = rms(again, once) / rms(once, x);
    assert.ok(ratio < 0.6, `${type}: the second encoding moves numbers by ${ratio} of the first's error`);
  }
});

Deno.test("encoders take any number of blocks, at any offset in memory", () => {
  for (const type of types) {
    const x = randomFloats(256 * 130, 6), whole = encoders[type](x);
    for (const [from, to] of [[0, 256], [256 * 63, 256 * 66], [256 * 129, 256 * 130]]) {
      const part = encoders[type](x.subarray(from, to)), scale = whole.length / x.length;
      assert.deepEqual(part, whole.slice(from * scale, to * scale), `${type} ${from}`);
    }
  }
});

Deno.test("encoders refuse NaN, infinity and half blocks", () => {
  for (const type of types) {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const x = new Float32Array(256 * 70).fill(1);
      x[256 * 65 + 7] = bad;
      assert.throws(() => encoders[type](x, { name: "blk.0.attn_q.weight" }), {
        name: "UserError",
        message: `Cannot quantise tensor "blk.0.attn_q.weight": element ${256 * 65 + 7} is ${bad}`,
      });
    }
    assert.throws(() => encoders[type](new Float32Array(31)), /31 elements/);
  }
});
