/** Kernel calls of norms: root mean square norms over whole rows or heads, their gradients, lengths of rows. */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import { bytesMoved, type Vectors, vectorsOf } from "./vectors.ts";

const workgroup = 256;

/**
 * How many of a workgroup's lanes take a group of `vectors`: about a lane for four vectors, so that a head does not
 * leave a workgroup idle, but eight lanes where there are as many vectors, so that neighbours read neighbours.
 */
function lanesFor(vectors: number): number {
  const wanted = Math.max(Math.ceil(vectors / 4), Math.min(vectors, 8));
  return Math.min(workgroup, 2 ** Math.ceil(Math.log2(wanted)));
}

/** Lanes, parameters and grid for `count` groups of S numbers. */
function groupsOf(count: number, S: number, { size }: Vectors) {
  const width = S / size, lanes = lanesFor(width);
  return { lanes, shape: [count, width], grid: spread(Math.ceil(count * lanes / workgroup)) };
}

/**
 * y = x / sqrt(mean(x^2) + eps) * weight over groups of weight.length along the last axis: the whole width or a head.
 * x and y [T, n*S], weight [S].
 */
export function rmsNorm<T extends TensorLike>(x: T, weight: T, y: T, { eps }: { eps: number }): Dispatch<T> {
  const [S] = weight.shape, vectors = vectorsOf(S), { of, Float, share } = vectors;
  const { lanes, shape, grid } = groupsOf(elements(x.shape) / S, S, vectors);
  return {
    kernel: "rms_norm",
    constants: { lanes, share, X: of(x), Weight: of(weight), Y: of(y), Float },
    tensors: [x, weight, y],
    params: [...shape, { f32: 1 / S }, { f32: eps }],
    grid,
    work: { bytes: bytesMoved(x, y), flop: 4 * elements(x.shape) },
  };
}

/**
 * dx of rmsNorm: with r = 1/sqrt(mean(x^2) + eps), dx = r*(w*dy - x*r^2*mean(w*dy*x)), + `plus` where it is given: a
 * tensor of dx's shape, the gradient that reaches x past the norm. `half`: a second copy, in f16.
 */
export function rmsNormBackward<T extends TensorLike>(
  dy: T,
  x: T,
  weight: T,
  dx: T,
  { eps, plus, half }: { eps: number; plus?: T; half?: T },
): Dispatch<T> {
  const [S] = weight.shape, vectors = vectorsOf(S), { of, Float, share } = vectors;
  const { lanes, shape, grid } = groupsOf(elements(x.shape) / S, S, vectors), added = plus ?? dy;
  return {
    kernel: "rms_norm_backward",
    constants: {
      ...{ lanes, share, add: `${plus !== undefined}` },
      ...{ Dy: of(dy), X: of(x), Weight: of(weight), Plus: of(added), Dx: of(dx), Float },
      ...half ? { twice: "true", Half: of(half) } : {},
    },
    tensors: [dy, x, weight, added, dx, half ?? null],
    params: [...shape, { f32: 1 / S }, { f32: eps }],
    grid,
    work: { bytes: bytesMoved(dy, x, dx, ...plus ? [plus] : [], ...half ? [half] : []), flop: 10 * elements(x.shape) },
  };
}

/** y[first + o] = L2 norm of row o of x. x [O, I], y of at least first + O: of a matrix in parts, a call a part. */
export function rowNorm<T extends TensorLike>(x: T, y: T, { first = 0 }: { first?: number } = {}): Dispatch<T> {
  const [O, I] = x.shape, vectors = vectorsOf(I), { of, Float, share } = vectors;
  const { lanes, shape, grid } = groupsOf(O, I, vectors);
  return {
    kernel: "row_norm",
    constants: { lanes, share, X: of(x), Y: y.dtype, Float },
    tensors: [x, y],
    params: [...shape, first],
    grid,
    work: { bytes: bytesMoved(x, { shape: [O], dtype: y.dtype }), flop: 2 * O * I },
  };
}
