/**
 * One product of many rows in f32, y = x * W^T, over memory of the caller's: what ONNX Runtime does faster than a WASM
 * kernel can, since it has vectors twice as wide.
 */
import { createGraph } from "./graph.ts";
import { onnxRuntime, type Tensor } from "./runtime.ts";

export interface ManyRows {
  /** W [O, I], to be given to `multiply`. */
  weight(data: Float32Array, shape: readonly number[]): Tensor;
  /** x [T, I] -> y [T, O]. */
  multiply(
    x: { data: Float32Array; shape: readonly number[] },
    weight: Tensor,
    y: { data: Float32Array; shape: readonly number[] },
  ): Promise<void>;
  close(): void;
}

/** `threads`: 0: one on every physical core. */
export function createManyRows({ threads }: { threads: number }): ManyRows {
  const runtime = onnxRuntime(), graph = createGraph("many_rows");
  graph.input("x", "float");
  graph.input("w", "float");
  const [y] = graph.node("FusedMatMul", ["x", "w"], { domain: "com.microsoft", attributes: { transB: { int: 1 } } });
  graph.output(y, "y");
  const session = runtime.session(graph.bytes(), { inputs: ["x", "w"], outputs: ["y"], threads });
  return {
    weight: (data, shape) => runtime.tensor(data, shape),
    multiply: (x, weight, y) =>
      session.run([runtime.tensor(x.data, x.shape), weight], [runtime.tensor(y.data, y.shape)]),
    close: session.close,
  };
}
