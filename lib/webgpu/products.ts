/**
 * Products with frozen weights as kernel calls. A weight is dense (f16 or f32) or NF4, in one or several parts of whole
 * rows. For few tokens the product reads the codes themselves; for many the weight is written out once into scratch that
 * all weights share, and an ordinary product follows.
 */
import { nestedBlock } from "../quant/double_quant.ts";
import { nf4Block } from "../quant/nf4.ts";
import type { Dispatch, Dtype, KernelTarget, TensorLike } from "./dispatch.ts";
import { cast } from "./elementwise_kernels.ts";
import { type Gemm, gemm, sizesOf } from "./gemm_kernels.ts";
import { gemvNf4 } from "./gemv_kernels.ts";
import type { InputInfo, Virtual } from "./lower.ts";
import { dequantizeNf4 } from "./nf4_kernels.ts";

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
  /** A weight of one part copied into y [O, I], f32. */
  writeOut(weight: string, y: Virtual): void;
}

export function makeProducts({ target, emit, inputs }: {
  target: KernelTarget;
  emit: (...dispatches: Dispatch<Virtual>[]) => void;
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
    const count = weight.rows[index] * I, blocks = Math.ceil(count / nf4Block);
    const words = (n: number) => ({ shape: [Math.ceil(n / 4)], dtype: "u32" as const });
    const floats = (n: number) => ({ shape: [n], dtype: "f32" as const });
    const packed = part(input, "packed", index, words(Math.ceil(count / 2)));
    if (!weight.double) return { packed, absmax: part(input, "absmax", index, floats(blocks)) };
    return {
      packed,
      double: {
        codes: part(input, "codes", index, words(blocks)),
        nested: part(input, "nested", index, floats(256 + Math.ceil(blocks / nestedBlock))),
        offset: weight.offset,
      },
    };
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

  /** A product with a part of a weight, by its codes where that is faster. */
  function emitPart(product: Product, input: string, index: number): void {
    const { weight, shape: [, I] } = inputs[input];
    const like: TensorLike = { shape: [weight!.rows[index], I], dtype: operand };
    const direct = weight!.kind === "nf4"
      ? gemvNf4({ ...product, codes: codesOf(input, index) }, sizesOf<TensorLike>({ ...product, b: like }))
      : undefined;
    emit(...direct ? [direct] : gemm(target, { ...product, b: densePart(input, index) }));
  }

  return {
    emit(product, { weight: name, backward }) {
      if (name === undefined) return emit(...gemm(target, product as Gemm<Virtual>));
      const { weight, shape: [O] } = inputs[name];
      const parts = weight!.rows.length;
      if (parts === 1) return emitPart(product, name, 0);
      if (backward) throw new Error(`${name}: the gradient through a weight of several parts is not split here`);
      let start = 0;
      for (const [index, rows] of weight!.rows.entries()) {
        if (product.low || product.plus) throw new Error(`${name}: several parts with an addition`);
        emitPart({ ...product, columns: { start, width: O } }, name, index);
        start += rows;
      }
    },
    part: densePart,
    writeOut(name, y) {
      const weight = inputs[name].weight!;
      if (weight.rows.length !== 1) throw new Error(`${name} has several parts`);
      if (weight.kind === "nf4") emit(dequantizeNf4({ ...codesOf(name, 0), y }));
      else emit(cast(densePart(name, 0), y));
    },
  };
}
