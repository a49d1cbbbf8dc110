/** Kernel calls that make rows smaller for as long as nobody reads them, and large again. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, vectorsOf, widthOf } from "./vectors.ts";

/** Shape of what packRows makes of x: rows, f16, with their factor behind them. */
export function packedShape({ shape }: TensorLike): [number, number] {
  const width = widthOf({ shape, dtype: "f32" });
  return [elements(shape) / width, width + vectorsOf(width).size];
}

/** y = x [T, D] f32 as f16 [T, D + 1 or 4], each row divided by a power of two where it would not fit. */
export function packRows<T extends TensorLike>(x: T, y: T): Dispatch<T> {
  const width = widthOf(x), { size, of } = vectorsOf(width), rows = elements(x.shape) / width;
  return {
    kernel: "pack_rows",
    constants: { X: of(x), Y: of(y) },
    tensors: [x, y],
    params: [rows, width / size],
    grid: spread(rows),
    work: { bytes: bytesMoved(x, y) },
  };
}

/** y [T, D] f32 = what packRows was given, rounded. */
export function unpackRows<T extends TensorLike>(x: T, y: T): Dispatch<T> {
  const width = widthOf(y), { size, of } = vectorsOf(width), count = elements(y.shape) / size;
  return {
    kernel: "unpack_rows",
    constants: { X: of(x), Y: of(y) },
    tensors: [x, y],
    params: [count, width / size],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, y) },
  };
}
