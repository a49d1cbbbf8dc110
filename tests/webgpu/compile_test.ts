/**
 * Kernels for tensor cores cannot run on a software adapter: here Dawn's compiler checks every variant of them that the
 * wrappers make, on a device that does nothing. What they compute is tested where a GPU offers subgroup matrices.
 */
import assert from "node:assert/strict";
import { create, globals } from "webgpu";
import type { Dispatch, TensorLike } from "../../lib/webgpu/dispatch.ts";
import { attention, attentionBackward } from "../../lib/webgpu/attention_kernels.ts";
import { gemm } from "../../lib/webgpu/gemm_kernels.ts";
import { gemmNf4Matrix } from "../../lib/webgpu/gemm_nf4_kernels.ts";
import { kernelText } from "../../lib/webgpu/pipelines.ts";
import { sources } from "../../lib/webgpu/sources.ts";

const target = { f16: true, matrix: true, maxBinding: 2 ** 31 };
const half = (...shape: number[]): TensorLike => ({ shape, dtype: "f16" });
const float = (...shape: number[]): TensorLike => ({ shape, dtype: "f32" });

function* variants(): Generator<Dispatch> {
  for (const size of [128, 2048]) {
    for (const transB of [true, false]) {
      const a = half(size, 256), b = transB ? half(size, 256) : half(256, size), y = float(size, size);
      const low = { a: half(size, 16), b: transB ? half(size, 16) : half(16, size), scale: 2 };
      yield* gemm(target, { a, b, y, transB });
      yield* gemm(target, { a, b, y: half(size, size), transB, low });
      yield* gemm(target, { a, b, y, transB, low, plus: float(size, size) });
      yield* gemm(target, { a, b, y, transB, plus: half(size), accumulate: true });
    }
  }
  for (const rank of [16, 24, 32, 64]) {
    yield* gemm(target, { a: half(500, 256), b: half(rank, 256), y: half(500, rank), transB: true });
    yield* gemm(target, { a: half(500, 256), b: half(256, rank), y: float(500, rank), scale: 2 });
    yield* gemm(target, { a: half(500, 256), b: half(500, rank), y: float(256, rank), transA: true });
    yield* gemm(target, { a: half(500, rank), b: half(500, 256), y: float(rank, 256), transA: true });
  }
  const whole: TensorLike = { shape: [9000 * 256], dtype: "u32" };
  for (const [M, N] of [[10, 500], [20, 500], [10, 9000], [20, 9000]]) {
    const g = { a: half(M, 256), y: half(M, N), transB: true, plus: half(N) };
    const low = { a: half(M, 3), b: half(N, 3), scale: 2 }, sizes = { M, N, K: 256, R: 3 };
    yield gemmNf4Matrix(target, { ...g, codes: { whole } }, { ...sizes, R: 0 })!;
    yield gemmNf4Matrix(target, { ...g, codes: { whole, double: { offset: 0 } }, low }, sizes)!;
  }
  for (const products of ["2u", "3u"]) {
    const [thin] = gemm(target, { a: half(500, 256), b: half(16, 256), y: half(500, 16), transB: true });
    const [tokens] = gemm(target, { a: half(500, 256), b: half(500, 16), y: float(256, 16), transA: true });
    for (const same_first of ["true", "false"]) {
      for (const each of [thin, tokens]) yield { ...each, constants: { ...each.constants, products, same_first } };
    }
  }
  const [T, H, G] = [300, 8, 2];
  for (const S of [64, 128]) {
    const q = half(T, H * S), k = half(T, G * S), spans: TensorLike = { shape: [T, 2], dtype: "i32" };
    const options = { heads: H, kvHeads: G, scale: 0.1 }, lse = float(T, H), delta = float(T, H, 2);
    yield* attention(target, { q, k, v: k, spans, y: q, lse }, options);
    yield* attentionBackward(target, { dy: q, q, k, v: k, y: q, lse, spans, delta, dq: q, dk: k, dv: k }, options);
  }
}

Deno.test({
  name: "every variant of the kernels for tensor cores compiles",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    for (const [name, value] of Object.entries(globals)) {
      if (!(name in globalThis)) (globalThis as Record<string, unknown>)[name] = value;
    }
    const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]) as unknown as GPU;
    (globalThis as Record<string, unknown>).ftlNullGpu = gpu; // held for the life of the process
    const adapter = await gpu.requestAdapter();
    const requiredFeatures = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"] as GPUFeatureName[];
    const device = await adapter!.requestDevice({ requiredFeatures });
    const seen = new Set<string>();
    for (const { kernel, constants, tensors } of variants()) {
      if (!kernel.includes("_matrix")) continue;
      seen.add(kernel);
      const unused = tensors.flatMap((tensor, i) => tensor ? [] : [i + 1]);
      device.pushErrorScope("validation");
      device.createShaderModule({ code: kernelText(kernel, constants, unused) });
      const error = await device.popErrorScope();
      assert.equal(error?.message, undefined, `${kernel} ${JSON.stringify(constants)}`);
    }
    assert.deepEqual([...seen].sort(), Object.keys(sources).filter((kernel) => kernel.includes("_matrix")).sort());
  },
});
