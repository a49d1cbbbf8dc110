/**
 * Products of a few rows (tokens being decoded) with a whole matrix as kernel calls. The time is that of reading the
 * matrix: every number of it is read once, NF4 as codes, and nothing is written but the result.
 */
import { type Dispatch, elements, spread, type TensorLike } from "./dispatch.ts";
import type { Gemm, Sizes } from "./gemm_kernels.ts";
import { nf4Bytes } from "./nf4_kernels.ts";
import { bytesMoved } from "./vectors.ts";

/** Most rows of a: with more the multiplications take longer than reading b. */
export const mostGemvRows = 8;
/** Shorter sums leave most threads of a workgroup idle. */
const shortestDense = 256;

/** Whether these kernels take a product: few rows, b transposed, nothing added to y itself. */
function fits<T>({ transA, transB, accumulate }: Omit<Gemm<T>, "b">, { M }: Sizes): boolean {
  return M <= mostGemvRows && !transA && transB === true && !accumulate;
}

/** What these kernels, and the one for NF4 on tensor cores, are told of what is added, and bytes of all but the matrix. */
export function additions<T extends TensorLike>(
  { a, y, low, plus, columns, scale = 1 }: Omit<Gemm<T>, "b">,
  { M, N, R }: Sizes,
) {
  const width = columns?.width ?? N, constants: Record<string, number | string> = { Y: y.dtype };
  if (plus) Object.assign(constants, { plusKind: elements(plus.shape) === M * width ? 2 : 1, Plus: plus.dtype });
  if (low) Object.assign(constants, { low: "true", LowA: low.a.dtype, LowB: low.b.dtype });
  return {
    constants,
    added: [low?.a ?? null, low?.b ?? null, plus ?? null],
    params: [R, width, columns?.start ?? 0, { f32: scale }, { f32: low?.scale ?? 0 }],
    bytes: bytesMoved(a, { shape: [M, N], dtype: y.dtype }, ...low ? [low.a, low.b] : [], ...plus ? [plus] : []),
  };
}

/** The same, with how many rows a has and in which type. */
function common<T extends TensorLike>(g: Omit<Gemm<T>, "b">, sizes: Sizes) {
  const { M } = sizes, { constants, ...rest } = additions(g, sizes);
  return {
    ...rest,
    constants: { rows: `${M}u`, batch: `${Math.min(M, 4)}u`, half: `${g.a.dtype === "f16"}`, ...constants },
  };
}

/** What belongs to the first of three products. */
const first = <V>(value: V | null) => [value, null, null];

/** A product with a dense matrix, or undefined where another kernel is better. */
export function gemv<T extends TensorLike>(g: Gemm<T>, sizes: Sizes): Dispatch<T> | undefined {
  const { M, N, K, R } = sizes;
  if (!fits(g, sizes) || K % 8 !== 0 || K < shortestDense) return undefined;
  const { constants, added, params, bytes } = common(g, sizes);
  return {
    kernel: "gemv",
    constants: { ...constants, halfW: `${g.b.dtype === "f16"}` },
    tensors: [g.a, ...first(g.b), ...added, ...first(g.y)],
    params: [K / 8, ...params, N, 0, 0],
    grid: spread(Math.ceil(N / 4)),
    work: { flop: 2 * M * N * (K + R), bytes: bytes + bytesMoved(g.b) },
  };
}

/** Logarithm of the neighbours that share what they read of x, where enough workgroups are left for a large GPU. */
function shareOf({ N, K }: Pick<Sizes, "N" | "K">): number {
  if (K <= 1024 || N >= 8192) return 2;
  return N >= 4096 ? 1 : 0;
}

/** An NF4 matrix in one buffer, as nf4Layout says. */
export interface Nf4Matrix<T> {
  whole: T;
  /** Where the maxima are codes: their mean. */
  double?: { offset: number };
}

/** A product with an NF4 matrix [N, K], or undefined where it has to be written out first. */
export function gemvNf4<T extends TensorLike>(
  g: Omit<Gemm<T>, "b"> & { codes: Nf4Matrix<T> },
  sizes: Sizes,
): Dispatch<T> | undefined {
  const { M, N, K, R } = sizes, { whole, double } = g.codes;
  if (!fits(g, sizes) || K % 32 !== 0) return undefined;
  const { constants, added, params, bytes } = common(g, sizes), share = shareOf(sizes);
  return {
    kernel: "gemv_nf4",
    constants: double ? { ...constants, double: "true" } : constants,
    tensors: [g.a, ...first(whole), ...added.flatMap(first), ...first(g.y)],
    params: [K / 32, share, ...params, N, 0, 0, { f32: double?.offset ?? 0 }, 0, 0],
    grid: spread(Math.ceil(N / (4 << share))),
    work: { flop: 2 * M * N * (K + R), bytes: bytes + nf4Bytes(N * K, double !== undefined) },
  };
}

/** Where a kernel's tensors and parameters of the three products begin, and its parameters by name. */
const places = {
  gemv: { tensors: [1, 7], params: [6], outputs: 6, width: 2, start: 3, share: undefined },
  gemv_nf4: { tensors: [1, 4, 7, 10, 13], params: [7, 10], outputs: 7, width: 3, start: 4, share: 1 },
};

/** Products of the same x, two or three, as one dispatch; undefined where they differ in more than their matrices. */
export function gemvTogether<T extends TensorLike>(
  group: Dispatch<T>[],
  same: (a: T, b: T) => boolean,
): Dispatch<T> | undefined {
  const [{ kernel, constants, tensors, params }] = group;
  if (kernel !== "gemv" && kernel !== "gemv_nf4" || group.length > 3) return undefined;
  const place = places[kernel], own = ["outputs", "width", "share"].map((name) => place[name as "outputs"]);
  const starts = (list: number[], i: number) => list.find((start) => i >= start && i < start + 3);
  const alike = (other: Dispatch<T>) =>
    same(other.tensors[0]!, tensors[0]!) &&
    JSON.stringify([other.kernel, other.constants]) === JSON.stringify([kernel, constants]) &&
    other.params[place.width] === other.params[place.outputs] &&
    other.params.every((value, i) =>
      own.includes(i) || starts(place.params, i) !== undefined || JSON.stringify(value) === JSON.stringify(params[i])
    );
  // A part of a wider y, and what the dense kernel adds, are taken for single products only.
  if (constants?.products || kernel === "gemv" && (constants?.low || constants?.plusKind)) return undefined;
  if (params[place.start] !== 0 || !group.every(alike)) return undefined;
  /** The first of each product's three, where there are three. */
  const gathered = <V>(list: V[], from: number[], listOf: (dispatch: Dispatch<T>) => V[], none: V) =>
    list.map((value, i) => {
      const start = starts(from, i);
      if (start === undefined) return value;
      return i - start < group.length ? listOf(group[i - start])[start] : none;
    });
  const joined = gathered(params, place.params, ({ params }) => params, 0);
  const sizes = group.map(({ params }) => Number(params[place.outputs]));
  const N = sizes.reduce((a, b) => a + b), share = shareOf({ N, K: 32 * Number(params[0]) });
  if (place.share !== undefined) joined[place.share] = share;
  const rows = 4 << (place.share === undefined ? 0 : share);
  const sum = (what: "flop" | "bytes") => group.reduce((total, { work }) => total + work![what]!, 0);
  return {
    kernel,
    constants: { ...constants, products: `${group.length}u` },
    tensors: gathered(tensors, place.tensors, ({ tensors }) => tensors, null),
    params: joined,
    grid: spread(sizes.reduce((count, size) => count + Math.ceil(size / rows), 0)),
    work: { flop: sum("flop"), bytes: sum("bytes") },
  };
}

/** y = act(gate) * up with the two products that make them, both of one size; undefined where that cannot be. */
export function gemvGated<T extends TensorLike>(
  [gate, up]: [Dispatch<T>, Dispatch<T>],
  gated: Dispatch<T>,
  same: (a: T, b: T) => boolean,
): Dispatch<T> | undefined {
  const both = gemvTogether([gate, up], same), { outputs, share } = places.gemv_nf4;
  if (both?.kernel !== "gemv_nf4" || both.constants!.plusKind) return undefined;
  if (gate.params[outputs] !== up.params[outputs]) return undefined;
  const y = gated.tensors[2]!, { activation } = gated.constants!;
  return {
    ...both,
    constants: { ...both.constants, gated: "true", activation: `${activation}u`, Y: y.dtype },
    tensors: [...both.tensors.slice(0, 13), y, null, null],
    grid: spread(Math.ceil(Number(gate.params[outputs]) / (2 << Number(both.params[share])))),
  };
}
