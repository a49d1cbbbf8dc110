/** GPU buffers that are given back are found again, whatever their size was rounded up to. */
import assert from "node:assert/strict";
import { makeBuffers } from "../../lib/webgpu/buffers.ts";
import { gpuTest } from "../helpers/webgpu.ts";

gpuTest(
  "a buffer that was given back serves the same request and those that need three quarters of it",
  async (gpu) => {
    const buffers = makeBuffers(gpu, { flush() {} });
    for (const bytes of [4, 256, 257, 320, 65_536, 65_540, 131_200, 200_000, 10_000_000]) {
      const first = buffers.take(bytes);
      assert.ok(first.size >= bytes);
      buffers.give(first);
      assert.equal(buffers.take(bytes), first, `${bytes}`);
      buffers.give(first);
      assert.equal(buffers.take(Math.ceil(first.size * 0.75)), first, `three quarters of ${first.size}`);
      assert.notEqual(buffers.take(bytes), first);
    }
    assert.equal(buffers.peak(), buffers.bytes());
    buffers.close();
    await gpu.explain();
  },
);
