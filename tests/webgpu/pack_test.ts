/** Rows packed to f16 and back: what rounding to 11 bits leaves, whatever the size of a row's numbers. */
import assert from "node:assert/strict";
import { packedShape, packRows, unpackRows } from "../../lib/webgpu/pack_kernels.ts";
import { randomFloats } from "../helpers/random.ts";
import { gpuTest, input, output, runDispatches } from "../helpers/webgpu.ts";

gpuTest("packRows() and unpackRows() keep 11 bits of small, ordinary and very large rows", async (gpu) => {
  for (const [T, D] of [[7, 64], [3, 131], [1, 4096], [300, 8]]) {
    const sizes = [1, 1e-3, 3e4, 7e4, 1e6, 5e11, 0], data = randomFloats(T * D, T + D);
    for (let i = 0; i < data.length; i++) data[i] *= sizes[Math.floor(i / D) % sizes.length];
    const x = input([T, D], data), packed = output(packedShape(x), "f16"), y = output([T, D]);
    const [found] = await runDispatches(gpu, [packRows(x, packed), unpackRows(packed, y)], [y]);
    for (let row = 0; row < T; row++) {
      const own = data.subarray(row * D, (row + 1) * D), most = own.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      // Half a unit in the last of 11 bits, or of f16's smallest number where the row was divided by 2^e.
      const smallest = 2 ** -25 * 2 ** Math.max(0, Math.floor(Math.log2(most || 1)) - 14);
      own.forEach((value, i) => {
        const error = Math.abs(found[row * D + i] - value);
        assert.ok(
          error <= Math.max(2 ** -11 * Math.abs(value), smallest),
          `[${T}, ${D}] row ${row}: ${value}, ${error}`,
        );
      });
    }
  }
});
