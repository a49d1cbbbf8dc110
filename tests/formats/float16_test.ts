import assert from "node:assert/strict";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16, toHalf } from "../../lib/formats/float16.ts";
import { differences, goldenGguf } from "../helpers/golden.ts";

const allPatterns = Uint16Array.from({ length: 65536 }, (_, h) => h);

Deno.test("f32ToF16(f16ToF32()) is the identity on all 65,536 patterns, NaN staying NaN", () => {
  const wide = f16ToF32(allPatterns), back = f32ToF16(wide);
  for (let h = 0; h < 65536; h++) {
    const isNan = (h & 0x7c00) === 0x7c00 && (h & 0x3ff) !== 0;
    assert.equal(Number.isNaN(wide[h]), isNan, `pattern ${h}`);
    assert.equal(back[h], isNan ? h | 0x200 : h, `pattern ${h}`);
  }
});

Deno.test("f16ToF32() agrees with the engine's own half floats", () => {
  const view = new DataView(new ArrayBuffer(2)), wide = f16ToF32(allPatterns);
  for (let h = 0; h < 65536; h++) {
    view.setUint16(0, h);
    assert.ok(Object.is(wide[h], view.getFloat16(0)), `pattern ${h}: ${wide[h]}`);
  }
});

Deno.test("f32ToBf16(bf16ToF32()) is the identity on all 65,536 patterns, NaN staying NaN", () => {
  const wide = bf16ToF32(allPatterns), back = f32ToBf16(wide);
  for (let h = 0; h < 65536; h++) {
    const isNan = (h & 0x7f80) === 0x7f80 && (h & 0x7f) !== 0;
    assert.equal(Number.isNaN(wide[h]), isNan, `pattern ${h}`);
    if (isNan) assert.equal(back[h] & 0xffc0, (h & 0xff80) | 0x40, `pattern ${h}`);
    else assert.equal(back[h], h, `pattern ${h}`);
  }
});

Deno.test("f32ToF16() and f32ToBf16() round ties, subnormals and overflow as numpy and ggml do", () => {
  const golden = goldenGguf("gguf/blocks.gguf");
  const narrow = golden.f32("narrow");
  const f16 = u16(golden.bytes("narrow.f16")), bf16 = u16(golden.bytes("narrow.bf16"));
  assert.ok(narrow.length > 6000);
  for (let i = 0; i < narrow.length; i++) {
    if (Number.isNaN(narrow[i])) {
      assert.ok(Number.isNaN(f16ToF32(f32ToF16(narrow.subarray(i, i + 1)))[0]));
      assert.ok(Number.isNaN(bf16ToF32(f32ToBf16(narrow.subarray(i, i + 1)))[0]));
      continue;
    }
    assert.equal(f32ToF16(narrow.subarray(i, i + 1))[0], f16[i], `f16 of ${narrow[i]}`);
    assert.equal(toHalf(narrow[i]), f16[i], `f16 of ${narrow[i]}`);
    assert.equal(f32ToBf16(narrow.subarray(i, i + 1))[0], bf16[i], `bf16 of ${narrow[i]}`);
  }
  golden.close();
});

Deno.test("f16ToF32() and the others write into an array given to them", () => {
  const out = new Float32Array(4), half = new Uint16Array(4);
  assert.equal(f16ToF32(new Uint16Array([0x3c00, 0xc000]), out.subarray(1, 3)).byteOffset, 4);
  assert.equal(differences(out, [0, 1, -2, 0]), 0);
  f32ToF16(new Float32Array([1, -2]), half.subarray(2));
  assert.deepEqual([...half], [0, 0, 0x3c00, 0xc000]);
  bf16ToF32(new Uint16Array([0x3f80]), out.subarray(0, 1));
  assert.equal(out[0], 1);
});

function u16(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.slice().buffer);
}
