import assert from "node:assert/strict";
import { kernelTarget } from "../../lib/webgpu/device.ts";
import { gpuTest } from "../helpers/webgpu.ts";
import { measureCeilings } from "../../lib/webgpu/ceilings.ts";

gpuTest("measureCeilings() measures a copy and a product", async (gpu) => {
  const { gbs, tflops } = await measureCeilings(gpu, kernelTarget(gpu));
  assert.ok(gbs > 0.05 && gbs < 1e5, `${gbs} GB/s`);
  assert.ok(tflops > 1e-5 && tflops < 1e4, `${tflops} TFLOP/s`);
});
