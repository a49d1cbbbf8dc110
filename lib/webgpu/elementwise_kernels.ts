/** Kernel calls on single elements and rows: casts, sums, products, rows picked by index. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";

/** y = x in another element type. */
export function cast<T extends TensorLike>(x: T, y: T): Dispatch<T> {
  const count = Math.ceil(elements(x.shape) / 4);
  return {
    kernel: "cast",
    constants: { In: x.dtype, Out: y.dtype },
    tensors: [x, y],
    params: [count],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: 16 * count },
  };
}
