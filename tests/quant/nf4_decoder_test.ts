import assert from "node:assert/strict";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { dequantizeNf4, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { nf4Decoders } from "../../lib/quant/nf4_decoder.ts";
import { differences } from "../helpers/golden.ts";
import { randomFloats } from "../helpers/random.ts";

for (const count of [1, 2, 31, 33, 63, 64, 65, 128, 257, 4096, 100_003, 300_001]) {
  Deno.test(`an NF4 decoder gives dequantizeNf4()'s bits for ${count} elements, again and again`, () => {
    const decoder = nf4Decoders({ threads: 1 }).decoder(count);
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

Deno.test("three threads decode a large weight to the same bits, whenever they come", async () => {
  const decoders = nf4Decoders({ threads: 3 });
  try {
    const count = 5_000_001, blocks = Math.ceil(count / 64);
    const [one, two] = [decoders.decoder(count), decoders.decoder(count)];
    let others = 0;
    for (let round = 0; round < 12; round++) {
      const packed = Uint8Array.from(randomFloats(Math.ceil(count / 2), round), (x) => 128 * (x + 1));
      const absmax = randomFloats(blocks, 100 + round).map(Math.abs), decoder = round % 3 === 0 ? two : one;
      decoder.out.fill(NaN);
      others += decoder.decode(packed, absmax);
      assert.equal(differences(decoder.out, dequantizeNf4(packed, absmax, count)), 0);
      // The first is decoded before the threads have started; later ones follow at once, or find them asleep.
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(others > 0, "no other thread took part");
  } finally {
    decoders.stop();
  }
});
