import assert from "node:assert/strict";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { codeTable, dynamicMap, nearestCode, tableIndex } from "../../lib/quant/dynamic_map.ts";
import { quantizeNf4 } from "../../lib/quant/nf4.ts";
import { differences, goldenSafetensors } from "../helpers/golden.ts";

Deno.test("dynamicMap() gives bitsandbytes' signed and unsigned maps bit for bit", () => {
  const golden = goldenSafetensors("tiny/bitsandbytes.safetensors");
  assert.equal(differences(dynamicMap(true), golden.f32("nf4/float32/double/nested_code")), 0);
  assert.equal(differences(dynamicMap(true), golden.f32("adamw8bit/8492/state/qmap1")), 0);
  assert.equal(differences(dynamicMap(false), golden.f32("adamw8bit/8492/state/qmap2")), 0);
  golden.close();
});

Deno.test("quantizeAbsmax() gives bitsandbytes' codes, nested maxima and offset bit for bit", () => {
  const golden = goldenSafetensors("tiny/bitsandbytes.safetensors");
  for (const dtype of ["float32", "bfloat16", "float16"]) {
    const key = `nf4/${dtype}/double/`;
    const { codes, nestedAbsmax, offset } = quantizeAbsmax(quantizeNf4(golden.f32(key + "weight")).absmax);
    assert.equal(offset, golden.f32(key + "offset")[0], key);
    assert.equal(differences(nestedAbsmax, golden.f32(key + "nested_absmax")), 0, key);
    assert.equal(differences(codes, golden.bytes(key + "absmax")), 0, key);
  }
  golden.close();
});

Deno.test("quantizeAbsmax() gives the offsets of a bitsandbytes checkpoint bit for bit", () => {
  const original = goldenSafetensors("tiny/llama3/model.safetensors");
  const checkpoint = goldenSafetensors("tiny/llama3_bnb4/model.safetensors");
  const state = ".quant_state.bitsandbytes__nf4";
  const weights = [...checkpoint.file.tensors.keys()].filter((name) => name.endsWith(state))
    .map((name) => name.slice(0, -state.length));
  assert.equal(weights.length, 14);
  for (const name of weights) {
    const { packed, absmax } = quantizeNf4(original.f32(name));
    const { codes, nestedAbsmax, offset } = quantizeAbsmax(absmax);
    const { nested_offset } = JSON.parse(new TextDecoder().decode(checkpoint.bytes(name + state)));
    assert.equal(offset, nested_offset, name);
    assert.equal(differences(packed, checkpoint.bytes(name)), 0, name);
    assert.equal(differences(codes, checkpoint.bytes(name + ".absmax")), 0, name);
    assert.equal(differences(nestedAbsmax, checkpoint.f32(name + ".nested_absmax")), 0, name);
  }
  original.close();
  checkpoint.close();
});

Deno.test("recoverAbsmax() is within half a step of the map for any number of maxima", () => {
  const map = dynamicMap(true);
  for (const count of [1, 31, 33, 255, 256, 257, 1000, 40_000]) {
    const absmax = Float32Array.from({ length: count }, (_, i) => 0.1 + 0.05 * Math.sin(i * 12.9898));
    const quantised = quantizeAbsmax(absmax), back = recoverAbsmax(quantised);
    const mean = absmax.reduce((sum, x) => sum + x, 0) / count;
    assert.ok(Math.abs(quantised.offset - mean) <= 1e-6 * mean, `offset ${quantised.offset}, mean ${mean}`);
    for (let i = 0; i < count; i++) {
      // Half the widest step of the map, 0.9/64, and one bin of the search table.
      const limit = quantised.nestedAbsmax[i >> 8] * (0.45 / 64 + 2 / 65535) + 1e-7;
      assert.ok(Math.abs(back[i] - absmax[i]) <= limit, `element ${i} of ${count}: ${back[i]}, was ${absmax[i]}`);
    }
  }
  assert.equal(map[127], 0);
});

Deno.test("quantizeAbsmax() recovers equal maxima exactly", () => {
  const absmax = new Float32Array(300).fill(0.25);
  assert.equal(differences(recoverAbsmax(quantizeAbsmax(absmax)), absmax), 0);
});

Deno.test("nearestCode() finds the nearest value of the map, the lower on a tie", () => {
  for (const map of [dynamicMap(true), dynamicMap(false)]) {
    for (let i = 0; i < 256; i++) assert.equal(nearestCode(map, map[i]), i);
    for (let i = 0; i < 255; i++) {
      const middle = Math.fround(0.5 * Math.fround(map[i] + map[i + 1]));
      assert.equal(nearestCode(map, middle), i);
      assert.equal(nearestCode(map, middle + Math.abs(middle) * 1e-6 + 1e-12), i + 1);
    }
    assert.equal(nearestCode(map, -2), 0);
    assert.equal(nearestCode(map, 2), 255);
  }
});

Deno.test("codeTable() agrees with nearestCode() to one bin of the table", () => {
  for (const map of [dynamicMap(true), dynamicMap(false)]) {
    const table = codeTable(map), bin = 2 / 65535;
    for (let y = -1.001; y <= 1.001; y += 0.00037) {
      const code = table[tableIndex(Math.fround(y))];
      assert.ok(code >= nearestCode(map, y - bin) && code <= nearestCode(map, y + bin), `${y}: code ${code}`);
    }
  }
});
