/**
 * Products with frozen weights as kernel calls. A weight is dense (f16 or f32) or NF4, in one or several parts of whole
 * rows. For few tokens the product reads the codes themselves; for many the weight is written out once into scratch that
 * all weights share, and an ordinary product follows.
 */
import { bytesOf, type Dispatch, type Dtype, type KernelTarget, type TensorLike } from "./dispatch.ts";
import { cast, copyWindow } from "./elementwise_kernels.ts";
import { type Gemm, gemm, type Sizes, sizesOf } from "./gemm_kernels.ts";
import { gemmNf4Matrix } from "./gemm_nf4_kernels.ts";
import { gemvNf4 } from "./gemv_kernels.ts";
import type { InputInfo, Virtual } from "./lower.ts";
import { dequantizeNf4, nf4Layout } from "./nf4_kernels.ts";

/** A frozen weight [O, I] in GPU memory. */
export type Weight =
  & {
    /** Rows of each part, in order. */
    rows: number[];
  }
  & ({ kind: "dense" } | {
    kind: "nf4";
    /** Whether the block maxima are 8-bit codes themselves. */
    double: boolean;
    /** Mean that was taken from the maxima before. */
    offset: number;
  });

/** A product whose b may be a weight, to be named beside it. */
export type Product = Omit<Gemm<Virtual>, "b"> & { b?: Virtual };

export interface Products {
  /** Emits a product; `weight` names the input that stands for its b, read transposed unless `backward`. */
  emit(product: Product, of: { weight?: string; backward?: boolean }): void;
  /** A part of a weight as a dense tensor [rows, I], written out where it is not one. */
  part(weight: string, index: number): Virtual;
  /** A part of a weight copied into y [rows, I]. */
  writeOut(weight: string, index: number, y: Virtual): void;
  /** Rows `row` to `row + rows` of a matrix, copied. */
  rowsOf(x: Virtual, window: { row: number; rows: number }): Virtual;
}

export function makeProducts({ target, emit, temp, inputs }: {
  target: KernelTarget;
  emit: (...dispatches: Dispatch<Virtual>[]) => void;
  temp: (shape: readonly number[], dtype: Dtype) => Virtual;
  inputs: Record<string, InputInfo>;
}): Products {
  const operand: Dtype = target.f16 ? "f16" : "f32";

  function part(
    input: string,
    field: string,
    index: number,
    like: { shape: readonly number[]; dtype: Dtype },
  ): Virtual {
    return { ...like, place: { input, field, part: index } };
  }

  /** Tensors of an NF4 part. */
  function codesOf(input: string, index: number) {
    const { weight, shape: [, I] } = inputs[input];
    if (weight?.kind !== "nf4") throw new Error(`${input} is not NF4`);
    const { parts, bytes } = nf4Layout(weight.rows[index] * I, weight.double);
    const field = (name: string, dtype: Dtype) =>
      part(input, name, index, { shape: [Math.ceil(parts[name].bytes / bytesOf[dtype])], dtype });
    const whole = part(input, "whole", index, { shape: [bytes / 4], dtype: "u32" }), packed = field("packed", "u32");
    if (!weight.double) return { whole, packed, absmax: field("absmax", "f32") };
    const double = { codes: field("codes", "u32"), nested: field("nested", "f32"), offset: weight.offset };
    return { whole, packed, double };
  }

  /** A part of a weight as a dense tensor [rows, I]. */
  function densePart(input: string, index: number): Virtual {
    const { weight, shape: [, I], dtype } = inputs[input];
    const shape = [weight!.rows[index], I];
    if (weight!.kind === "dense") return part(input, "dense", index, { shape, dtype });
    const scratch: Virtual = { shape, dtype: operand, place: { shared: "weight" } };
    emit(dequantizeNf4({ ...codesOf(input, index), y: scratch }));
    return scratch;
  }

  const directly = (product: Parameters<typeof gemvNf4<Virtual>>[0], sizes: Sizes) =>
    gemvNf4(product, sizes) ?? gemmNf4Matrix(target, product, sizes);

  /** A product with a part of a weight, by its codes where that is faster. */
  function emitPart(product: Product, input: string, index: number): void {
    const { weight, shape: [, I] } = inputs[input];
    const like: TensorLike = { shape: [weight!.rows[index], I], dtype: operand };
    const direct = weight!.kind === "nf4"
      ? directly({ ...product, codes: codesOf(input, index) }, sizesOf<TensorLike>({ ...product, b: like }))
      : undefined;
    emit(...direct ? [direct] : gemm(target, { ...product, b: densePart(input, index) }));
  }

  function rowsOf(x: Virtual, { row, rows }: { row: number; rows: number }): Virtual {
    const window = temp([rows, x.shape[1]], x.dtype);
    emit(copyWindow(x, window, { row }));
    return window;
  }

  /** x * W^T: each part gives columns of y, and takes its rows of LoRA's B. */
  function columnsByParts(product: Product, name: string): void {
    const { weight, shape: [width] } = inputs[name], { low } = product;
    let start = 0;
    for (const [index, rows] of weight!.rows.entries()) {
      const own = low && { ...low, b: rowsOf(low.b, { row: start, rows }) };
      emitPart({ ...product, low: own, columns: { start, width } }, name, index);
      start += rows;
    }
  }

  /** dy * W: the sum over parts of their columns of dy times each, in f32 until it is whole. */
  function sumOfParts(product: Product, name: string): void {
    const { a, scale, y } = product, { rows: parts } = inputs[name].weight!;
    const sum = temp(y.shape, "f32");
    let start = 0;
    for (const [index, rows] of parts.entries()) {
      const columns = temp([a.shape[0], rows], a.dtype);
      emit(copyWindow(a, columns, { column: start }));
      const own = { a: columns, b: densePart(name, index) };
      if (index === 0) emit(...gemm(target, { ...product, ...own, y: sum }));
      else if (index < parts.length - 1) emit(...gemm(target, { ...own, scale, y: sum, accumulate: true }));
      else emit(...gemm(target, { ...own, scale, y, plus: sum }));
      start += rows;
    }
  }

  return {
    emit(product, { weight: name, backward }) {
      if (name === undefined) return emit(...gemm(target, product as Gemm<Virtual>));
      if (inputs[name].weight!.rows.length === 1) emitPart(product, name, 0);
      else if (backward) sumOfParts(product, name);
      else columnsByParts(product, name);
    },
    part: densePart,
    writeOut(name, index, y) {
      if (inputs[name].weight!.kind === "nf4") emit(dequantizeNf4({ ...codesOf(name, index), y }));
      else emit(cast(densePart(name, index), y));
    },
    rowsOf,
  };
}
