/** Kernel calls of gated activations. */
import type { Activation } from "../ops.ts";
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, flatVectors } from "./vectors.ts";

const activations: Record<Activation, number> = { silu: 0, gelu_tanh: 1 };

/** y = act(gate) * up, by element. */
export function gated<T extends TensorLike>(gate: T, up: T, y: T, activation: Activation): Dispatch<T> {
  const count = flatVectors(y);
  return {
    kernel: "gated",
    constants: { activation: activations[activation], Gate: gate.dtype, Up: up.dtype, Y: y.dtype },
    tensors: [gate, up, y],
    params: [count],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: bytesMoved(gate, up, y), flop: 6 * elements(y.shape) },
  };
}

/** y = act(gate) * up over dy, dgate = dy * up * act'(gate) over gate, dup = dy * act(gate) over up, by element. */
export function gatedBackwardInPlace<T extends TensorLike>(dy: T, gate: T, up: T, activation: Activation): Dispatch<T> {
  const count = flatVectors(dy);
  return {
    kernel: "gated_backward_in_place",
    constants: { activation: activations[activation], Dy: dy.dtype, Gate: gate.dtype, Up: up.dtype },
    tensors: [dy, gate, up],
    params: [count],
    grid: spread(Math.ceil(count / 256)),
    work: { bytes: 2 * bytesMoved(dy, gate, up), flop: 13 * elements(dy.shape) },
  };
}
