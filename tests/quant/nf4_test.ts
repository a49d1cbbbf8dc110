import assert from "node:assert/strict";
import { f32ToBf16, f32ToF16 } from "../../lib/formats/float16.ts";
import { dequantizeNf4, nf4Codebook, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { differences, goldenSafetensors } from "../helpers/golden.ts";

const dtypes = ["float32", "bfloat16", "float16"];

/** Stored value of an f32 array in one of `dtypes`, as comparable numbers. */
function narrow(x: Float32Array, dtype: string): ArrayLike<number> {
  return dtype === "float32" ? x : dtype === "float16" ? f32ToF16(x) : f32ToBf16(x);
}

/** The definition: 15 comparisons with the f32 midpoints. */
function codeByComparison(y: number): number {
  let code = 0;
  for (let i = 0; i < 15; i++) if (y > Math.fround((nf4Codebook[i] + nf4Codebook[i + 1]) / 2)) code = i + 1;
  return code;
}

Deno.test("quantizeNf4() gives bitsandbytes' codes and maxima bit for bit", () => {
  const golden = goldenSafetensors("tiny/bitsandbytes.safetensors");
  for (const dtype of dtypes) {
    for (const kind of ["single", "double"]) {
      const key = `nf4/${dtype}/${kind}/`;
      const { packed, absmax } = quantizeNf4(golden.f32(key + "weight"));
      assert.equal(differences(packed, golden.bytes(key + "packed")), 0, key);
      if (kind === "single") assert.equal(differences(absmax, golden.f32(key + "absmax")), 0, key);
    }
  }
  golden.close();
});

Deno.test("dequantizeNf4() gives bitsandbytes' values bit for bit in each dtype", () => {
  const golden = goldenSafetensors("tiny/bitsandbytes.safetensors");
  assert.equal(differences(nf4Codebook, golden.f32("nf4/float32/single/code")), 0);
  for (const dtype of dtypes) {
    for (const kind of ["single", "double"]) {
      const key = `nf4/${dtype}/${kind}/`;
      const absmax = kind === "single" ? golden.f32(key + "absmax") : recoverAbsmax({
        codes: golden.bytes(key + "absmax"),
        nestedAbsmax: golden.f32(key + "nested_absmax"),
        offset: golden.f32(key + "offset")[0],
      });
      const expected = golden.f32(key + "dequantised");
      const actual = dequantizeNf4(golden.bytes(key + "packed"), absmax, expected.length);
      assert.equal(differences(narrow(actual, dtype), narrow(expected, dtype)), 0, key);
    }
  }
  golden.close();
});

Deno.test("quantizeNf4() equals the 15 comparisons at and beside every threshold", () => {
  // A maximum of 1 makes the scaled value the value itself.
  const values = [1];
  const bits = new Uint32Array(1), float = new Float32Array(bits.buffer);
  for (let i = 0; i < 15; i++) {
    float[0] = (nf4Codebook[i] + nf4Codebook[i + 1]) / 2;
    const at = bits[0];
    for (const step of [-2, -1, 0, 1, 2]) {
      bits[0] = at + step;
      values.push(float[0]);
    }
  }
  for (let i = 0; i <= 4096; i++) values.push(i / 2048 - 1);
  const x = new Float32Array(Math.ceil(values.length / 63) * 64);
  for (let i = 0, v = 0; i < x.length; i++) x[i] = i % 64 === 0 ? 1 : values[v++] ?? 0;
  const { packed } = quantizeNf4(x);
  for (let i = 0; i < x.length; i++) {
    const code = i % 2 === 0 ? packed[i >> 1] >> 4 : packed[i >> 1] & 15;
    assert.equal(code, codeByComparison(x[i]), `value ${x[i]}`);
  }
});

Deno.test("quantizeNf4() and dequantizeNf4() take ragged ends of every length", () => {
  for (const count of [1, 2, 31, 33, 63, 64, 65, 127, 257]) {
    const x = Float32Array.from({ length: count }, (_, i) => Math.cos(i * 1.7) * (1 + (i >> 6)));
    const { packed, absmax } = quantizeNf4(x);
    assert.equal(packed.length, Math.ceil(count / 2));
    assert.equal(absmax.length, Math.ceil(count / 64));
    const back = dequantizeNf4(packed, absmax, count);
    for (let i = 0; i < count; i++) {
      const max = absmax[i >> 6], code = codeByComparison(Math.fround(x[i] * Math.fround(1 / max)));
      assert.equal(back[i], Math.fround(nf4Codebook[code] * max), `element ${i} of ${count}`);
    }
    if (count % 2 === 1) assert.equal(packed[count >> 1] & 15, 0);
  }
});

Deno.test("quantizeNf4() reads a view that does not start at its buffer's beginning", () => {
  const whole = Float32Array.from({ length: 200 }, (_, i) => Math.cos(i));
  const view = whole.subarray(7, 7 + 130), copy = view.slice();
  assert.deepEqual(quantizeNf4(view), quantizeNf4(copy));
});

Deno.test("quantizeNf4() takes the smallest and the largest numbers", () => {
  for (const scale of [1e-45, 1e-40, 3.4e38]) {
    const x = Float32Array.from({ length: 64 }, (_, i) => i === 0 ? scale : i === 1 ? -scale : 0);
    const { packed, absmax } = quantizeNf4(x), back = dequantizeNf4(packed, absmax, 64);
    assert.equal(absmax[0], Math.fround(scale));
    if (scale > 1) assert.equal(differences(back, x), 0);
    else for (let i = 0; i < 64; i++) assert.ok(Math.abs(back[i]) <= Math.abs(Math.fround(scale)));
  }
});

Deno.test("quantizeNf4() refuses NaN and infinity by tensor and element", () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const index of [0, 63, 64, 130]) {
      const x = new Float32Array(131).fill(0.5);
      x[index] = bad;
      assert.throws(() => quantizeNf4(x, { name: "q_proj" }), {
        name: "UserError",
        message: `Cannot quantise tensor "q_proj": element ${index} is ${bad}`,
      });
    }
  }
});
