/** NF4 quantisation on the device against the one of lib/quant, bit for bit. */
import assert from "node:assert/strict";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, input, output, runDispatches } from "../helpers/webgpu.ts";
import { nf4Codebook, quantizeNf4 } from "../../lib/quant/nf4.ts";
import * as kernels from "../../lib/webgpu/quantize_kernels.ts";
import type { Gpu } from "../../lib/webgpu/device.ts";

async function assertSame(gpu: Gpu, data: Float32Array, what: string): Promise<void> {
  const expected = quantizeNf4(data), words = Math.ceil(data.length / 8);
  const packed = output([words], "u32"), absmax = output([expected.absmax.length]);
  const call = kernels.quantizeNf4(input([1, data.length], data), packed, absmax);
  const [codes, maxima] = await runDispatches(gpu, [call], [packed, absmax]);
  assert.deepEqual(maxima, expected.absmax, `${what}: maxima`);
  // The last word is filled up with zeros.
  const bytes = new Uint8Array(4 * words);
  bytes.set(expected.packed);
  const found = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  const wrong = found.findIndex((byte, i) => byte !== bytes[i]);
  assert.equal(wrong, -1, `${what}: byte ${wrong} is ${found[wrong]}, expected ${bytes[wrong]}`);
}

gpuTest("quantizeNf4() has lib/quant's bits for any count of numbers", async (gpu) => {
  for (const count of [1, 33, 64, 65, 131, 17 * 576, 300 * 131]) {
    await assertSame(gpu, randomFloats(count, count).map((x) => 0.05 * x ** 3), `${count} numbers`);
  }
});

gpuTest("quantizeNf4() beside every threshold, whatever the maximum", async (gpu) => {
  // In each block a random maximum, mantissa and exponent, and numbers whose quotients are thresholds or next to them.
  const blocks = 4096, data = new Float32Array(64 * blocks), bits = new Int32Array(data.buffer);
  const maxima = randomFloats(blocks, 1), exponents = randomFloats(blocks, 2);
  for (let block = 0; block < blocks; block++) {
    const max = Math.fround((1 + Math.abs(maxima[block])) * 2 ** Math.round(90 * exponents[block]));
    const start = 64 * block;
    data[start] = block % 2 ? max : -max;
    for (let i = 1; i < 64; i++) {
      const code = i % 15, threshold = Math.fround(Math.fround(nf4Codebook[code] + nf4Codebook[code + 1]) / 2);
      data[start + i] = threshold * max;
      bits[start + i] += Math.floor(i / 15) - 2;
    }
  }
  await assertSame(gpu, data, "thresholds");
});

gpuTest("quantizeNf4() of blocks of zeros, of powers of two and of the limits that its kernel names", async (gpu) => {
  const data = randomFloats(64 * 6, 3);
  [0, 1, 2 ** -100, 2 ** 125, 2 - 2 ** -23, 1 + 2 ** -23].forEach((max, block) => {
    const own = data.subarray(64 * block, 64 * block + 64);
    own.forEach((value, i) => own[i] = value * max);
    own[5] = -max;
  });
  // Too small for a normal number, in a block that has a large one.
  data.fill(2 ** -140, 70, 80);
  await assertSame(gpu, data, "limits");
});
