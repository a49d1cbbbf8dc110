/** Kernel calls on single elements and rows: casts, sums, products, rows picked by index. */
import type { DropoutMask } from "../ops.ts";
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, flatVectors, vectorsOf, widthOf } from "./vectors.ts";

/** y = x in another element type. */
export function cast<T extends TensorLike>(x: T, y: T): Dispatch<T> {
  const count = flatVectors(x);
  return {
    kernel: "cast",
    constants: { In: x.dtype, Out: y.dtype },
    tensors: [x, y],
    params: [count],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, y) },
  };
}

const binaryOps = { add: 0, mul: 1, div: 2 };

/** y = a op b by element; b has a's shape, or is a vector over a's last axis. */
export function binary<T extends TensorLike>(op: keyof typeof binaryOps, a: T, b: T, y: T): Dispatch<T> {
  const same = elements(a.shape) === elements(b.shape);
  // Of one shape, rows do not matter: the buffers are walked in vectors of four whatever the width.
  const { size, of, Float } = same ? vectorsOf(4) : vectorsOf(widthOf(b));
  const count = Math.ceil(elements(a.shape) / size);
  return {
    kernel: "binary",
    constants: { op: binaryOps[op], A: of(a), B: of(b), Y: of(y), Float },
    tensors: [a, b, y],
    params: [count, Math.ceil(elements(b.shape) / size)],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(a, b, y), flop: elements(a.shape) },
  };
}

/** y = factor * x */
export function scale<T extends TensorLike>(x: T, y: T, factor: number): Dispatch<T> {
  const count = flatVectors(x);
  return {
    kernel: "scale",
    constants: { X: x.dtype, Y: y.dtype },
    tensors: [x, y],
    params: [count, { f32: factor }],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, y), flop: elements(x.shape) },
  };
}

/** y = value everywhere; y of any type. */
export function fill<T extends TensorLike>(y: T, value: number): Dispatch<T> {
  const count = flatVectors(y);
  return {
    kernel: "fill",
    constants: { Y: y.dtype },
    tensors: [y],
    params: [count, { f32: value }],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(y) },
  };
}

/** A mask of dropout, y f32: see kernels/dropout_mask.wgsl. */
export function dropoutMask<T extends TensorLike>(y: T, { key, threshold, factor }: DropoutMask): Dispatch<T> {
  const count = flatVectors(y);
  return {
    kernel: "dropout_mask",
    tensors: [y],
    params: [count, key, threshold, { f32: factor }],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(y) },
  };
}

/** y += x */
export function addInPlace<T extends TensorLike>(x: T, y: T): Dispatch<T> {
  const count = flatVectors(x);
  return {
    kernel: "add_in_place",
    constants: { X: x.dtype, Y: y.dtype },
    tensors: [x, y],
    params: [count],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, y, y), flop: elements(x.shape) },
  };
}

/** y[o] = sum over t of x[t, o]. x [T, O], y [O]. */
export function sumRows<T extends TensorLike>(x: T, y: T): Dispatch<T> {
  const [T, O] = x.shape, { size, of, Float } = vectorsOf(O), width = O / size;
  return {
    kernel: "sum_rows",
    constants: { X: of(x), Y: of(y), Float },
    tensors: [x, y],
    params: [T, width],
    grid: [Math.ceil(width / 8), 1, 1],
    work: { bytes: bytesMoved(x, y), flop: T * O },
  };
}

/**
 * y[n] = scale * table[index[n] - firstRow] where that is a row of the table; other rows of y are left alone, so that
 * a table split by rows is gathered by one call a part. table [M, D], index i32 [N], y [N, D].
 */
export function gatherRows<T extends TensorLike>(
  table: T,
  index: T,
  y: T,
  { firstRow = 0, scale = 1 }: { firstRow?: number; scale?: number } = {},
): Dispatch<T> {
  const [M, D] = table.shape, { size, of, Float } = vectorsOf(D), count = elements(y.shape) / size;
  return {
    kernel: "gather_rows",
    constants: { Table: of(table), Y: of(y), Float },
    tensors: [table, index, y],
    params: [count, D / size, firstRow, M, { f32: scale }],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved({ shape: y.shape, dtype: table.dtype }, y) },
  };
}

/** y[index[n]] = x[n], other rows untouched; indices are distinct. x [N, D], index i32 [N], y [M, D]. */
export function scatterRows<T extends TensorLike>(x: T, index: T, y: T): Dispatch<T> {
  return scatter(x, index, y, false);
}

/** y[index[n]] += x[n]; indices are distinct. x [N, D], index i32 [N], y [M, D]. */
export function scatterAddRows<T extends TensorLike>(x: T, index: T, y: T): Dispatch<T> {
  return scatter(x, index, y, true);
}

function scatter<T extends TensorLike>(x: T, index: T, y: T, accumulate: boolean): Dispatch<T> {
  const [M, D] = y.shape, { size, of, Float } = vectorsOf(D), count = elements(x.shape) / size;
  const written = { shape: x.shape, dtype: y.dtype };
  return {
    kernel: "scatter_rows",
    constants: { accumulate: `${accumulate}`, X: of(x), Y: of(y), Float },
    tensors: [x, index, y],
    params: [count, D / size, M],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(x, ...accumulate ? [written, written] : [written]) },
  };
}

/** y[r, c] = x[row + r, column + c]. x [M, N], y [rows, columns], of one type. */
export function copyWindow<T extends TensorLike>(
  x: T,
  y: T,
  { row = 0, column = 0 }: { row?: number; column?: number },
): Dispatch<T> {
  const stride = widthOf(x), width = widthOf(y), { size, of } = vectorsOf(stride, width, column);
  const count = elements(y.shape) / size;
  return {
    kernel: "window",
    constants: { X: of(x) },
    tensors: [x, y],
    params: [count, width / size, stride / size, (row * stride + column) / size],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(y, y) },
  };
}
