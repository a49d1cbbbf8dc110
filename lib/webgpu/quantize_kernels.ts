/** Kernel calls that quantise weights on the device. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved } from "./vectors.ts";

/**
 * NF4 in blocks of 64, with the bits of quantizeNf4 of lib/quant (kernels/quantize_nf4.wgsl says where that is
 * guaranteed). x f32, finite, of any shape, as one row of `count` numbers; packed u32 [ceil(count/8)],
 * absmax f32 [ceil(count/64)].
 */
export function quantizeNf4<T extends TensorLike>(x: T, packed: T, absmax: T): Dispatch<T> {
  const count = elements(x.shape);
  return {
    kernel: "quantize_nf4",
    tensors: [x, packed, absmax],
    params: [count],
    grid: spread(Math.ceil(count / 2048)),
    work: { bytes: bytesMoved(x, packed, absmax) },
  };
}
