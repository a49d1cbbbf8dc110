/**
 * Tensors in host memory, as the float64 reference uses them. No operations here; the elements may be float64 results or
 * the caller's own f32 and i32 arrays, read where they lie.
 */
import type { Value } from "../../lib/ops.ts";

export type Numbers = Float64Array | Float32Array | Int32Array;

/** A tensor in host memory, row-major. */
export interface HostValue extends Value {
  readonly data: Numbers;
}

/** A value of the given shape; `data` has exactly its elements. */
export function host(data: Numbers | number[], shape: readonly number[]): HostValue {
  const values = Array.isArray(data) ? Float64Array.from(data) : data;
  const count = shape.reduce((product, size) => product * size, 1);
  if (values.length !== count) throw new Error(`shape [${shape}] needs ${count} elements, got ${values.length}`);
  return { data: values, shape: [...shape] };
}

/** A value of zeros, float64. */
export function zeros(...shape: number[]): HostValue {
  return host(new Float64Array(shape.reduce((product, size) => product * size, 1)), shape);
}

/** Throws unless `x` has the shape; null stands for any size. */
export function expectShape(op: string, x: Value, shape: (number | null)[]): void {
  const fits = x.shape.length === shape.length && shape.every((size, i) => size === null || size === x.shape[i]);
  if (!fits) throw new Error(`${op}: shape [${x.shape}], expected [${shape.map((size) => size ?? "*")}]`);
}
