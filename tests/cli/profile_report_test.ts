/** The table of --profile, from made-up times. */
import assert from "node:assert/strict";
import { showProfile } from "../../lib/cli/profile_report.ts";

const kernels = [
  { kernel: "rms_norm", calls: 65, ms: 10, tflops: NaN, gbs: 1500 },
  { kernel: "gemm In=f16", calls: 450, ms: 80, tflops: 115.5, gbs: 240.25 },
  { kernel: "fill", calls: 1, ms: 0.04, tflops: NaN, gbs: NaN },
  { kernel: "cast", calls: 7, ms: 9.96, tflops: NaN, gbs: 0.512 },
];

Deno.test("showProfile() lists kernels by time with rates, share of the ceiling and a sum", () => {
  assert.equal(
    showProfile(kernels, { ceilings: { tflops: 231, gbs: 2000 }, wallMs: 125, memory: { planned: 2e9, peak: 1.5e9 } }),
    `calls     ms   share  TFLOP/s  GB/s  of ceiling  kernel
  450   80.0   80.0%      116   240         50%  gemm In=f16
   65   10.0   10.0%           1500         75%  rms_norm
    7   10.0   10.0%           0.51          0%  cast
    1    0.0    0.0%                             fill
  523  100.0  100.0%                             sum
ceiling: 231 TFLOP/s in a large product, 2000 GB/s in a large copy, measured on this device
by the clock 125.0 ms: kernels 80%
memory: buffers of 1.5 GB at most, 2.0 GB planned`,
  );
});

Deno.test("showProfile() sums up what is beyond the longest, and does without ceilings and clock", () => {
  assert.equal(
    showProfile(kernels, { most: 1 }),
    `calls     ms   share  TFLOP/s  GB/s  of ceiling  kernel
  450   80.0   80.0%      116   240              gemm In=f16
   73   20.0   20.0%                             3 others
  523  100.0  100.0%                             sum`,
  );
  assert.equal(showProfile([]), "no kernel was timed");
});
