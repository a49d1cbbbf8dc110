/** Operands of kernel tests: random numbers as a GPU tensor and, as it is after rounding, for the float64 reference. */
import { host, type HostValue } from "../reference/host.ts";
import { randomFloats } from "./random.ts";
import { halved, input, type TestTensor } from "./webgpu.ts";

export type FloatType = "f32" | "f16";

export interface Operand {
  tensor: TestTensor;
  value: HostValue;
}

/** Uniform in (-factor, factor). */
export function operand(
  shape: readonly number[],
  seed: number,
  { dtype = "f32", factor = 1 }: { dtype?: FloatType; factor?: number } = {},
): Operand {
  const count = shape.reduce((a, b) => a * b, 1);
  return operandOf(shape, randomFloats(count, seed).map((x) => factor * x), dtype);
}

export function operandOf(
  shape: readonly number[],
  data: Float32Array<ArrayBuffer>,
  dtype: FloatType = "f32",
): Operand {
  return {
    tensor: input(shape, data, dtype),
    value: host(dtype === "f16" ? halved(data) : data, shape),
  };
}

/** i32, for indices and targets. */
export function integers(...values: number[]): Operand {
  const data = Int32Array.from(values), shape = [values.length];
  return { tensor: input(shape, data), value: host(data, shape) };
}

/** One rounding to the type: half a unit in the last place, relative, and half of f16's smallest number below that. */
export const rounding: Record<FloatType, { rtol: number; atol: number }> = {
  f32: { rtol: 2 ** -24, atol: 0 },
  f16: { rtol: 2 ** -11, atol: 2 ** -25 },
};
