/**
 * Time of attention and its gradients on a GPU: the heads of Llama 3.1 8B (32 query heads, 8 key heads of 128), f16,
 * rows of one length.
 *
 *   deno run -A tests/bench/attention_bench.ts [engine, dawn] [length, 2048] [rows, 2]
 *
 * Prints, for the kernels the device gets and, where some of those are for tensor cores, for the portable ones too,
 * median milliseconds (least to most of ten runs) and TFLOP/s of the products over the scores that are seen: two of them
 * forward, seven backward (scores and dy . v are made in both kernels).
 */
import { attention, attentionBackward, attentionDeltaShape } from "../../lib/webgpu/attention_kernels.ts";
import type { GpuTensor } from "../../lib/webgpu/commands.ts";
import { type GpuEngine, kernelTarget, openGpu } from "../../lib/webgpu/device.ts";
import type { Dispatch } from "../../lib/webgpu/dispatch.ts";
import { gpuTimer } from "../helpers/gpu_time.ts";

const [engine = "dawn", length = "2048", rows = "2"] = Deno.args;
const L = Number(length), B = Number(rows), T = L * B, H = 32, G = 8, S = 128;
const options = { heads: H, kvHeads: G, scale: 1 / Math.sqrt(S) };
const gpu = await openGpu(engine as GpuEngine), { tensor, randomHalves, time } = gpuTimer(gpu);

const wide = [T, H * S], narrow = [T, G * S];
const q = randomHalves(wide, 1), k = randomHalves(narrow, 2), v = randomHalves(narrow, 3), dy = randomHalves(wide, 4);
const bounds = Array.from({ length: T }, (_, t) => [t - t % L, t - t % L + L]).flat();
const spans = tensor([T, 2], "i32", Int32Array.from(bounds));
const y = tensor(wide, "f16"), lse = tensor([T, H], "f32"), delta = tensor(attentionDeltaShape(q, options), "f32");
const dq = tensor(wide, "f16"), dk = tensor(narrow, "f16"), dv = tensor(narrow, "f16");

async function print(what: string, dispatches: Dispatch<GpuTensor>[], last: GpuTensor, products: number) {
  const { median, least, most } = await time(dispatches, last);
  const flop = products * 2 * B * (L * (L + 1) / 2) * H * S;
  console.log(
    `${what}: ${median.toFixed(3)} ms (${least.toFixed(3)} to ${most.toFixed(3)}), ` +
      `${(flop / median / 1e9).toFixed(1)} TFLOP/s  ${dispatches.map(({ kernel }) => kernel).join(", ")}`,
  );
}

console.log(`${gpu.name} (${engine}), ${B} x ${L} tokens, ${H}/${G} heads of ${S}, f16`);
const target = kernelTarget(gpu);
for (const each of target.matrix ? [target, { ...target, matrix: false }] : [target]) {
  await print("forward ", attention(each, { q, k, v, spans, y, lse }, options), y, 2);
  const backward = attentionBackward(each, { dy, q, k, v, y, lse, spans, delta, dq, dk, dv }, options);
  await print("backward", backward, dv, 7);
}
Deno.exit(0);
