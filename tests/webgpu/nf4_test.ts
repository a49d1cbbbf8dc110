import assert from "node:assert/strict";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { dequantizeNf4 as expectedValues, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { dequantizeNf4 } from "../../lib/webgpu/nf4_kernels.ts";
import { dynamicMap } from "../../lib/quant/dynamic_map.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, halved, input, output, runDispatches } from "../helpers/webgpu.ts";

/** Bytes as words, padded with zeros. */
function words(bytes: Uint8Array): Uint32Array {
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
}

const u32 = (data: Uint32Array) => input([data.length], data);
const f32 = (data: Float32Array) => input([data.length], data);

for (const [O, I] of [[1, 64], [33, 128], [7, 61], [257, 192], [600, 256]]) {
  gpuTest(`dequantizeNf4() gives the numbers of lib/quant for [${O}, ${I}]`, async (gpu) => {
    const x = randomFloats(O * I, O + I).map((value) => value * 0.05), { packed, absmax } = quantizeNf4(x);
    const codes = quantizeAbsmax(absmax), recovered = recoverAbsmax(codes);
    const [plain, doubled, half] = [output([O, I]), output([O, I]), output([O, I], "f16")];
    const double = {
      codes: u32(words(codes.codes)),
      nested: f32(Float32Array.of(...dynamicMap(true), ...codes.nestedAbsmax)),
      offset: codes.offset,
    };
    const shared = u32(words(packed));
    const found = await runDispatches(gpu, [
      dequantizeNf4({ packed: shared, absmax: f32(absmax), y: plain }),
      dequantizeNf4({ packed: shared, double, y: doubled }),
      dequantizeNf4({ packed: shared, double, y: half }),
    ], [plain, doubled, half]);
    assert.deepEqual(found[0], expectedValues(packed, absmax, O * I));
    assert.deepEqual(found[1], expectedValues(packed, recovered, O * I));
    assert.deepEqual(found[2], halved(expectedValues(packed, recovered, O * I)));
  });
}
