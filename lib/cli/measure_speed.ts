/** What training would do on this machine, by a few products of the model's own shapes, in a second or two. */
import type { ModelConfig } from "../model/config.ts";
import { projectionShape } from "../model/names.ts";
import type { Speed } from "../model/step_time.ts";
import { createOnnxExecutor } from "../onnx/executor.ts";
import type { Segment, Value } from "../ops.ts";
import { nf4Decoder } from "../quant/nf4_decoder.ts";
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
      const run = async () => executor.release((await executor.run(segment, given)).y);
      let best = Infinity;
      for (let i = 0; i < 3; i++) {
        const start = performance.now();
        await run();
        best = Math.min(best, (performance.now() - start) / 1000);
      }
      seconds += best;
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

/** Seconds for an NF4 weight to be written out. */
function decodeSeconds(): number {
  const count = 1 << 24, decoder = nf4Decoder(count);
  const packed = new Uint8Array(count / 2), absmax = new Float32Array(count / 64).fill(1);
  decoder.decode(packed, absmax);
  const start = performance.now();
  decoder.decode(packed, absmax);
  return (performance.now() - start) / 1000 / count;
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
