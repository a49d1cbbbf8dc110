/**
 * Time of attention and its gradients on a GPU: the heads of Llama 3.1 8B (32 query heads, 8 key heads of 128), f16,
 * rows of one length.
 *
 *   deno run -A tests/bench/attention_bench.ts [engine, dawn] [length, 2048] [rows, 2]
 *
 * Prints, for the kernels the device gets and, where some of those are for tensor cores, for the portable ones too,
 * median milliseconds of ten runs after three to warm up, least and most, and TFLOP/s of the products over the scores
 * that are seen: two of them forward, seven backward (scores and dy . v are made in both kernels). A run is timed from
 * the host: the same several times in a row, as many as take some 20 ms, then one wait.
 */
import { attention, attentionBackward, attentionDeltaShape } from "../../lib/webgpu/attention_kernels.ts";
import { type GpuTensor, makeCommands, tensorBytes } from "../../lib/webgpu/commands.ts";
import { type GpuEngine, openGpu } from "../../lib/webgpu/device.ts";
import type { Dispatch, Dtype, KernelTarget } from "../../lib/webgpu/dispatch.ts";
import { randomFloats } from "../helpers/random.ts";

const [engine = "dawn", length = "2048", rows = "2"] = Deno.args;
const L = Number(length), B = Number(rows), T = L * B, H = 32, G = 8, S = 128;
const options = { heads: H, kvHeads: G, scale: 1 / Math.sqrt(S) };
const gpu = await openGpu(engine as GpuEngine), commands = makeCommands(gpu);

function tensor(shape: readonly number[], dtype: Dtype, data?: ArrayBufferView): GpuTensor {
  const bytes = tensorBytes(shape, dtype);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const made: GpuTensor = { shape, dtype, buffer: gpu.device.createBuffer({ size: bytes, usage }), offset: 0, bytes };
  if (data) commands.write(made, data);
  return made;
}
const filled = (shape: [number, number], seed: number) =>
  tensor(shape, "f16", new Float16Array(randomFloats(shape[0] * shape[1], seed)));

const wide: [number, number] = [T, H * S], narrow: [number, number] = [T, G * S];
const q = filled(wide, 1), k = filled(narrow, 2), v = filled(narrow, 3), dy = filled(wide, 4);
const bounds = Array.from({ length: T }, (_, t) => [t - t % L, t - t % L + L]).flat();
const spans = tensor([T, 2], "i32", Int32Array.from(bounds));
const y = tensor(wide, "f16"), lse = tensor([T, H], "f32"), delta = tensor(attentionDeltaShape(q, options), "f32");
const dq = tensor(wide, "f16"), dk = tensor(narrow, "f16"), dv = tensor(narrow, "f16");

async function time(what: string, dispatches: Dispatch<GpuTensor>[], products: number): Promise<void> {
  /** Milliseconds of one of `count` runs. */
  const run = async (count: number) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) for (const dispatch of dispatches) commands.dispatch(dispatch);
    await commands.read([{ ...lse, bytes: 16 }]);
    return (performance.now() - start) / count;
  };
  for (let i = 0; i < 2; i++) await run(1);
  const count = Math.max(1, Math.ceil(20 / await run(1)));
  const times: number[] = [];
  for (let i = 0; i < 10; i++) times.push(await run(count));
  const sorted = times.toSorted((a, b) => a - b), median = (sorted[4] + sorted[5]) / 2;
  const flop = products * 2 * B * (L * (L + 1) / 2) * H * S;
  console.log(
    `${what}: ${median.toFixed(3)} ms (${sorted[0].toFixed(3)} to ${sorted[9].toFixed(3)}), ` +
      `${(flop / median / 1e9).toFixed(1)} TFLOP/s  ${dispatches.map(({ kernel }) => kernel).join(", ")}`,
  );
}

console.log(`${gpu.name} (${engine}), ${B} x ${L} tokens, ${H}/${G} heads of ${S}, f16`);
const { f16, matrix, limits } = gpu;
const target: KernelTarget = {
  ...{ f16, matrix },
  maxBinding: limits.maxStorageBufferBindingSize,
  maxWorkgroupStorage: limits.maxComputeWorkgroupStorageSize,
};
for (const each of matrix ? [target, { ...target, matrix: false }] : [target]) {
  await time("forward ", attention(each, { q, k, v, spans, y, lse }, options), 2);
  await time("backward", attentionBackward(each, { dy, q, k, v, y, lse, spans, delta, dq, dk, dv }, options), 7);
}
Deno.exit(0);
