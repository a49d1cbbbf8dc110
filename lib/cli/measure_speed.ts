/** What training would do on this machine, by a few products of the model's own shapes, in a second or two. */
import type { ModelConfig } from "../model/config.ts";
import { projectionShape } from "../model/names.ts";
import type { Speed } from "../model/step_time.ts";
import { createOnnxExecutor } from "../onnx/executor.ts";
import type { Segment, Value } from "../ops.ts";
import { nf4Decoders } from "../quant/nf4_decoder.ts";
import type { ChosenEngine } from "./engine.ts";
import { cardOf, speedOfCard, speedOfCeilings } from "./cards.ts";

export interface FoundSpeed {
  speed: Speed;
  /** Where it comes from. */
  from: string;
}

/** Tokens of the products that are timed: enough for their full speed. */
const mostTokens = 256;

/**
 * The speed of the CPU with products of so many tokens. What is no product was measured on the reference run: attention's
 * products are half as fast, and the rest takes 0.3 ns a number of activations (tests/bench/LOG.md).
 */
export async function cpuSpeed(
  config: ModelConfig,
  { tokens, threads }: { tokens: number; threads: number },
): Promise<FoundSpeed> {
  const executor = createOnnxExecutor({ threads }), T = Math.max(1, Math.min(tokens, mostTokens));
  let operations = 0, seconds = 0;
  for (const projection of ["q_proj", "gate_proj", "down_proj"] as const) {
    const [O, I] = projectionShape(config, projection);
    const weight = executor.weight({ kind: "f32", shape: [O, I], data: filled(O * I) });
    const inputs = {
      forward: { x: executor.tensor(filled(T * I), [T, I]), weight },
      backward: { x: executor.tensor(filled(T * O), [T, O]), weight },
    };
    for (const [direction, segment] of Object.entries(directions)) {
      const given: Record<string, Value> = inputs[direction as keyof typeof inputs];
      seconds += await fastest(3, async () => executor.release((await executor.run(segment, given)).y));
      operations += 2 * T * O * I;
    }
  }
  await executor.dispose();
  const products = operations / seconds;
  const speed = { products, attention: products / 2, decode: decodeSeconds(), other: 3e-10, optimizer: 8e-9, pass: 0 };
  return { speed, from: `products of the model's shapes, measured here: ${(products / 1e9).toFixed(0)} GFLOP/s` };
}

const directions: Record<"forward" | "backward", Segment> = {
  forward: { key: "speed_forward", build: (ops, { x, weight }) => ({ y: ops.linear(x, weight) }) },
  backward: { key: "speed_backward", build: (ops, { x, weight }) => ({ y: ops.linearBackward(x, weight) }) },
};

/** No zeros and no denormals: products take longer on the latter. */
function filled(count: number): Float32Array {
  return new Float32Array(count).fill(0.01);
}

/** Seconds for an NF4 weight to be written out, by one thread. */
function decodeSeconds(): number {
  const count = 1 << 24, decoder = nf4Decoders({ threads: 1 }).decoder(count);
  const packed = new Uint8Array(count / 2), absmax = new Float32Array(count / 64).fill(1);
  decoder.decode(packed, absmax);
  const start = performance.now();
  decoder.decode(packed, absmax);
  return (performance.now() - start) / 1000 / count;
}

export interface ProcessorSpeed {
  /** Products of f32 matrices as training does them. */
  gflops: number;
  /** Bytes read and written by a copy. */
  gbs: number;
}

/** What the processor does, in about a second: products of 256 tokens with a weight of 2048 x 2048, and a large copy. */
export async function measureProcessor(): Promise<ProcessorSpeed> {
  const executor = createOnnxExecutor(), T = 256, width = 2048;
  const x = executor.tensor(filled(T * width), [T, width]);
  const weight = executor.weight({ kind: "f32", shape: [width, width], data: filled(width * width) });
  const product = await fastest(
    12,
    async () => executor.release((await executor.run(directions.forward, { x, weight })).y),
  );
  await executor.dispose();
  const from = new Uint8Array(128 * 2 ** 20).fill(1), to = from.slice();
  const copy = await fastest(8, () => to.set(from));
  return {
    gflops: Math.round(2 * T * width ** 2 / product / 1e9),
    gbs: Number((2 * from.length / copy / 1e9).toFixed(1)),
  };
}

/** Seconds of the fastest of so many runs. */
async function fastest(runs: number, run: () => unknown): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await run();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

/** The speed of a graphics card: measured where it is here, else by its name. Undefined where neither says anything. */
export async function gpuSpeed(
  engine: Extract<ChosenEngine, { kind: "dawn" | "webgpu" }>,
  { layers, measure }: { layers: number; measure: boolean },
): Promise<FoundSpeed | undefined> {
  if (engine.about.software) return undefined;
  if (measure) {
    const [{ openGpu, kernelTarget }, { measureCeilings }] = await Promise.all([
      import("../webgpu/device.ts"),
      import("../webgpu/ceilings.ts"),
    ]);
    const gpu = await openGpu(engine.kind);
    const ceilings = await measureCeilings(gpu, kernelTarget(gpu)).finally(() => gpu.close());
    const from = `a large product, measured here: ${ceilings.tflops.toFixed(0)} TFLOP/s`;
    return { speed: speedOfCeilings(ceilings, layers), from };
  }
  const card = cardOf(engine.about.name);
  return card && { speed: speedOfCard(card, layers), from: `an H100's measured speed, by what both cards' makers say` };
}
