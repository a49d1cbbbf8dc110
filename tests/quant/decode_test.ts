import assert from "node:assert/strict";
import fc from "fast-check";
import { blockTypes, decodableTypes, toFloat32 } from "../../lib/quant/decode.ts";
import { encodeQ8_0 } from "../../lib/quant/q8_0.ts";
import { openGgml } from "../helpers/ggml.ts";
import { differences, goldenGguf } from "../helpers/golden.ts";

const ggml = await openGgml();

Deno.test("toFloat32() decodes every block type as gguf-py does, bit for bit", () => {
  const golden = goldenGguf("gguf/blocks.gguf");
  let compared = 0;
  for (const type of ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K"]) {
    for (const name of [type, `${type}.random`]) {
      const info = golden.file.tensors.get(name);
      if (!info) continue;
      assert.equal(info.dtype, type);
      assert.equal(differences(golden.f32(name), golden.f32(`${name}.f32`)), 0, name);
      compared++;
    }
  }
  assert.equal(compared, 11);
  golden.close();
});

Deno.test("toFloat32() decodes every K-quant and IQ4 as llama.cpp and gguf-py do, bit for bit", () => {
  const golden = goldenGguf("gguf/k_quants.gguf");
  for (const type of ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ4_NL", "IQ4_XS"]) {
    assert.equal(golden.file.tensors.get(`${type}.random`)!.dtype, type);
    assert.equal(differences(golden.f32(`${type}.random`), golden.f32(`${type}.random.f32`)), 0, type);
  }
  golden.close();
});

Deno.test({
  name: "toFloat32() gives llama.cpp's numbers for any bytes, also for scales that are infinite or NaN",
  ignore: ggml === null,
  fn: () => {
    const types = decodableTypes.filter((type) => blockTypes[type].block > 1);
    assert.equal(types.length, 13);
    const blocks = fc.constantFrom(...types).chain((type) => {
      const size = 3 * blockTypes[type].bytes;
      return fc.tuple(fc.constant(type), fc.uint8Array({ minLength: size, maxLength: size }));
    });
    fc.assert(
      fc.property(blocks, ([dtype, bytes]) => {
        const count = bytes.length / blockTypes[dtype].bytes * blockTypes[dtype].block;
        const expected = ggml!.dequantize(bytes as Uint8Array<ArrayBuffer>, dtype);
        assert.equal(differences(toFloat32(bytes, { dtype, count }), expected), 0, dtype);
      }),
      { numRuns: 1000 },
    );
  },
});

Deno.test("toFloat32() decodes a hand-written Q4_K block", () => {
  // d = 0.5 (0x3800), dmin = 2 (0x4000); group 0 has scale 3 and minimum 1, group 5 scale 0x21 and minimum 0x12.
  const block = new Uint8Array(144);
  block.set([0x00, 0x38, 0x00, 0x40, 3, 2 << 6, 0, 0, 1, 1 << 6, 0, 0, 0, 0x21], 0);
  block[16] = 0x0f; // elements 0 and 32
  block[16 + 64 + 31] = 0x40; // elements 128 + 31 and 160 + 31
  const out = toFloat32(block, { dtype: "Q4_K", count: 256 });
  assert.equal(out[0], 0.5 * 3 * 15 - 2 * 1);
  assert.equal(out[1], -2);
  assert.equal(out[160], -2 * 0x12);
  assert.equal(out[160 + 31], 0.5 * 0x21 * 4 - 2 * 0x12);
  assert.equal(out[128 + 31], 0);
});

Deno.test("toFloat32() decodes a hand-written Q4_1 block", () => {
  // d = 0.5 (0x3800), m = -1 (0xbc00), then bytes whose low nibbles are elements 0-15 and high nibbles 16-31.
  const block = new Uint8Array(20);
  block.set([0x00, 0x38, 0x00, 0xbc, 0x21, 0x0f, 0xf0]);
  const expected = new Float32Array(32).fill(-1);
  expected[0] = -0.5;
  expected[16] = 0;
  expected[1] = 6.5;
  expected[18] = 6.5;
  assert.deepEqual(toFloat32(block, { dtype: "Q4_1", count: 32 }), expected);
});

Deno.test("toFloat32() decodes plain floats at any byte offset", () => {
  const values = [0, -0, 1.5, -2.25, 65504, 2 ** -24, Infinity, NaN];
  const stored: Record<string, number[]> = {
    F16: [0x0000, 0x8000, 0x3e00, 0xc080, 0x7bff, 0x0001, 0x7c00, 0x7e00].flatMap((h) => [h & 255, h >> 8]),
    BF16: [0x0000, 0x8000, 0x3fc0, 0xc010, 0x477f, 0x3380, 0x7f80, 0x7fc0].flatMap((h) => [h & 255, h >> 8]),
    F32: [...new Uint8Array(new Float32Array(values).buffer)],
    F64: [...new Uint8Array(new Float64Array(values).buffer)],
  };
  for (const [dtype, bytes] of Object.entries(stored)) {
    for (const shift of [0, 1, 2, 3]) {
      const moved = new Uint8Array(bytes.length + shift);
      moved.set(bytes, shift);
      const expected = dtype === "BF16" ? values.with(4, 65280) : values;
      assert.equal(
        differences(toFloat32(moved.subarray(shift), { dtype, count: 8 }), expected),
        0,
        `${dtype}+${shift}`,
      );
    }
  }
});

Deno.test("toFloat32() decodes blocks at odd byte offsets", () => {
  const golden = goldenGguf("gguf/blocks.gguf");
  for (const dtype of ["Q8_0", "Q6_K"]) {
    const bytes = golden.bytes(`${dtype}.random`), expected = golden.f32(`${dtype}.random.f32`);
    const moved = new Uint8Array(bytes.length + 1);
    moved.set(bytes, 1);
    assert.equal(differences(toFloat32(moved.subarray(1), { dtype, count: expected.length }), expected), 0);
  }
  golden.close();
});

Deno.test("toFloat32() refuses types and sizes it cannot decode", () => {
  const cases: [bytes: number, dtype: string, count: number, message: RegExp][] = [
    [66, "IQ2_XXS", 256, /tensor "w": its type is IQ2_XXS/],
    [143, "Q4_K", 256, /256 elements of Q4_K take 144 bytes, found 143/],
    [144, "Q4_K", 128, /128 elements are not whole Q4_K blocks of 256/],
    [8, "U8", 8, /its type is U8/],
    [8, "constructor", 8, /its type is constructor/],
    [20, "Q4_1", 31, /31 elements are not whole Q4_1 blocks of 32/],
    [19, "Q4_1", 32, /32 elements of Q4_1 take 20 bytes, found 19/],
    [5, "F32", 1, /1 elements of F32 take 4 bytes, found 5/],
  ];
  for (const [bytes, dtype, count, message] of cases) {
    assert.throws(() => toFloat32(new Uint8Array(bytes), { dtype, count, name: "w" }), { name: "UserError", message });
  }
});

Deno.test("blockTypes has ggml's sizes: a block is its scales plus its quants", () => {
  // Bits of a quant times the block, in bytes, plus the bytes of scales, minima and high bits.
  const sizes: Record<string, number> = {
    Q4_0: 2 + 32 / 2,
    Q4_1: 2 + 2 + 32 / 2,
    Q5_0: 2 + 4 + 32 / 2,
    Q5_1: 2 + 2 + 4 + 32 / 2,
    Q8_0: 2 + 32,
    Q2_K: 2 + 2 + 256 / 4 + 16,
    Q3_K: 2 + 256 / 4 + 256 / 8 + 16 * 6 / 8,
    Q4_K: 2 + 2 + 256 / 2 + 2 * 8 * 6 / 8,
    Q5_K: 2 + 2 + 256 / 2 + 256 / 8 + 2 * 8 * 6 / 8,
    Q6_K: 256 / 2 + 256 / 4 + 256 / 16 + 2,
    Q8_K: 4 + 256 + 16 * 2,
    IQ4_NL: 2 + 32 / 2,
    IQ4_XS: 2 + 256 / 2 + 8 * 6 / 8,
  };
  for (const [type, bytes] of Object.entries(sizes)) assert.equal(blockTypes[type].bytes, bytes, type);
  const ids = Object.values(blockTypes).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const type of decodableTypes) assert.ok(blockTypes[type], type);
});

Deno.test("encodeQ8_0() gives llama.cpp's reference blocks bit for bit", () => {
  const golden = goldenGguf("gguf/blocks.gguf");
  assert.equal(differences(encodeQ8_0(golden.f32("q8")), golden.bytes("q8.q8_0")), 0);
  golden.close();
});

Deno.test("encodeQ8_0() is within half a step of its input, and keeps zeros and the tiniest blocks finite", () => {
  for (const scale of [0, 1e-45, 1e-40, 1e-6, 1, 1e6]) {
    const x = Float32Array.from({ length: 96 }, (_, i) => scale * Math.sin(i * 2.3));
    const back = toFloat32(encodeQ8_0(x), { dtype: "Q8_0", count: 96 });
    for (let block = 0; block < 3; block++) {
      const part = x.subarray(32 * block, 32 * block + 32);
      const d = Math.max(...part.map(Math.abs)) / 127;
      // Half a step of rounding, plus the f16 rounding of the step (2^-11, or half of 2^-24) times the largest quant.
      const limit = d / 2 + 127 * (d * 2 ** -11 + 2 ** -25);
      for (let i = 0; i < 32; i++) {
        const error = Math.abs(back[32 * block + i] - part[i]);
        assert.ok(error <= limit, `scale ${scale}, element ${32 * block + i}: error ${error}, limit ${limit}`);
      }
    }
  }
});

Deno.test("encodeQ8_0() refuses NaN and infinity by tensor and element", () => {
  const x = new Float32Array(64).fill(1);
  x[40] = NaN;
  assert.throws(() => encodeQ8_0(x, { name: "blk.0.attn_q.weight" }), {
    name: "UserError",
    message: 'Cannot quantise tensor "blk.0.attn_q.weight": element 40 is NaN',
  });
  assert.throws(() => encodeQ8_0(new Float32Array(31)), /31 elements/);
});
