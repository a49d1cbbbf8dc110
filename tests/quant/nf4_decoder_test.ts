import assert from "node:assert/strict";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { dequantizeNf4, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { nf4Decoder } from "../../lib/quant/nf4_decoder.ts";
import { differences } from "../helpers/golden.ts";
import { randomFloats } from "../helpers/random.ts";

for (const count of [1, 2, 31, 33, 63, 64, 65, 128, 257, 4096, 100_003, 300_001]) {
  Deno.test(`nf4Decoder() gives dequantizeNf4()'s bits for ${count} elements, again and again`, () => {
    const decoder = nf4Decoder(count);
    for (const seed of [1, 2]) {
      const { packed, absmax } = quantizeNf4(randomFloats(count, seed));
      decoder.out.fill(NaN);
      decoder.decode(packed, absmax);
      assert.equal(differences(decoder.out, dequantizeNf4(packed, absmax, count)), 0);
      const codes = quantizeAbsmax(absmax);
      decoder.decode(packed, codes);
      assert.equal(differences(decoder.out, dequantizeNf4(packed, recoverAbsmax(codes), count)), 0);
    }
  });
}
