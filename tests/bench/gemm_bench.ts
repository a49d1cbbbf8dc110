/**
 * Speed of products with a frozen NF4 weight W [O, I] on a GPU, f16 operands: 4096 x 4096 x 4096 and the four shapes of
 * Llama 3.1 8B, forward (x W^T) and backward (dy W).
 *
 *   deno run -A tests/bench/gemm_bench.ts [engine, dawn] [tokens, 4096]
 *
 * Prints median TFLOP/s (least to most of ten runs) of the product alone, of writing W out and the product, and of both
 * with a low-rank addition of rank 16 fused in.
 */
import { gemm } from "../../lib/webgpu/gemm_kernels.ts";
import { type GpuEngine, kernelTarget, openGpu } from "../../lib/webgpu/device.ts";
import { dequantizeNf4 } from "../../lib/webgpu/nf4_kernels.ts";
import { gpuTimer } from "../helpers/gpu_time.ts";

const [engine = "dawn", tokens = "4096"] = Deno.args, M = Number(tokens);
const gpu = await openGpu(engine as GpuEngine),
  target = kernelTarget(gpu),
  { tensor, randomHalves, time } = gpuTimer(gpu);
console.log(`${gpu.name} (${engine}), ${M} tokens; TFLOP/s: product, with W written out, with a low rank too`);

const shapes = [[4096, 4096], [1024, 4096], [14336, 4096], [4096, 14336]];
const most = 14336 * 4096, block = 64;
const packed = tensor(
  [most / 8],
  "u32",
  Uint32Array.from({ length: most / 8 }, (_, i) => Math.imul(i, 2654435761) >>> 0),
);
const absmax = tensor([most / block], "f32", new Float32Array(most / block).fill(0.05));
for (const [O, I] of shapes) {
  const W = randomHalves([O, I], 1), low = { a: randomHalves([M, 16], 2), scale: 1 };
  const x = randomHalves([M, I], 3), dy = randomHalves([M, O], 4);
  const y = tensor([M, O], "f16"), dx = tensor([M, I], "f16");
  const codes = { packed: { ...packed, shape: [O * I / 8] }, absmax: { ...absmax, shape: [O * I / block] } };
  const writeOut = dequantizeNf4({ ...codes, y: W });
  for (const backward of [false, true]) {
    const product = backward
      ? { a: dy, b: W, y: dx, low: { ...low, b: randomHalves([16, I], 5) } }
      : { a: x, b: W, y, transB: true, low: { ...low, b: randomHalves([O, 16], 5) } };
    const plain = gemm(target, { ...product, low: undefined });
    const figures: string[] = [];
    for (const dispatches of [plain, [writeOut, ...plain], [writeOut, ...gemm(target, product)]]) {
      const { median, least, most } = await time(dispatches, product.y);
      const speed = (ms: number) => (2 * M * O * I / ms / 1e9).toFixed(0);
      figures.push(`${speed(median)} (${speed(most)} to ${speed(least)})`);
    }
    console.log(`[${O}, ${I}] ${backward ? "backward" : "forward "}: ${figures.join("   ")}  ${plain[0].kernel}`);
  }
  for (const { buffer } of [W, x, dy, y, dx]) buffer.destroy();
}
Deno.exit(0);
