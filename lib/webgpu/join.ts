/**
 * Dispatches that do not depend on each other as one: alone each is over before it has filled a large GPU, and a dispatch
 * costs some ten microseconds. Products of the same x with q, k and v, with gate and up, of a few rows or, where LoRA makes
 * thin ones, on tensor cores; what becomes of gate and up; and the rotary embeddings of q and k.
 */
import type { Dispatch } from "./dispatch.ts";
import { gemvGated, gemvTogether } from "./gemv_kernels.ts";
import type { Virtual } from "./lower.ts";
import { ropePair } from "./rope_kernels.ts";

/** Products in one dispatch. */
const most = 3;
/** Tensors of each thin product: two operands, the result. */
const tensorsEach = 3;

interface Joined {
  /** Where a product's operands end among its tensors. */
  operands: number;
  together<T extends Virtual>(group: Dispatch<T>[]): Dispatch<T> | undefined;
}

const thin: Joined = { operands: 2, together: thinTogether };
const fewRows: Joined = { operands: -3, together: (group) => gemvTogether(group, same) };
const joined: Record<string, Joined> = {
  ...{ gemm_thin_matrix: thin, gemm_tokens_matrix: thin },
  ...{ gemv: fewRows, gemv_nf4: fewRows },
};

/** Places as text, once each: they are compared very often. */
const texts = new WeakMap<Virtual["place"], string>();

function placeOf({ place }: Pick<Virtual, "place">): string {
  let text = texts.get(place);
  if (text === undefined) texts.set(place, text = JSON.stringify(place));
  return text;
}

function same(a: Virtual, b: Virtual): boolean {
  return placeOf(a) === placeOf(b);
}

/** All that can be joined, with at most `mostBuffers` tensors in a dispatch. */
export function joinDispatches<T extends Virtual>(dispatches: Dispatch<T>[], mostBuffers = Infinity): Dispatch<T>[] {
  return joinRopes(joinProducts(joinGated(dispatches, mostBuffers), mostBuffers));
}

function buffersOf({ tensors }: Dispatch): number {
  return tensors.filter((tensor) => tensor !== null).length;
}

/** Rotary embeddings that stand beside each other, two by two. */
function joinRopes<T extends Virtual>(dispatches: Dispatch<T>[]): Dispatch<T>[] {
  const done: Dispatch<T>[] = [];
  for (const dispatch of dispatches) {
    const before = done.at(-1), pair = before && ropePair(before, dispatch, same);
    if (pair) done[done.length - 1] = pair;
    else done.push(dispatch);
  }
  return done;
}

/** Gated activations with the products that make their operands, where nobody else reads these. */
function joinGated<T extends Virtual>(dispatches: Dispatch<T>[], mostBuffers: number): Dispatch<T>[] {
  const gone = new Set<Dispatch<T>>();
  const done = dispatches.map((gated) => {
    if (gated.kernel !== "gated") return gated;
    const makers = gated.tensors.slice(0, 2).map((operand) => {
      const users = dispatches.filter(({ tensors }) => tensors.some((tensor) => tensor && same(tensor, operand!)));
      return "temp" in operand!.place && users.length === 2 ? users[0] : undefined;
    });
    const [gate, up] = makers;
    const found = gate && up && gate !== up && gemvGated([gate, up], gated, same);
    if (!found || buffersOf(found) > mostBuffers) return gated;
    gone.add(gate).add(up);
    return found;
  });
  return done.filter((dispatch) => !gone.has(dispatch));
}

/**
 * The same dispatches with products joined at the place of the first of them. That the later ones may be moved there
 * follows from how lowering works: a tensor is written by the first dispatch that has it, and only read after that;
 * what stands where another stood is a tensor of its own.
 */
function joinProducts<T extends Virtual>(dispatches: Dispatch<T>[], mostBuffers: number): Dispatch<T>[] {
  const left = [...dispatches], done: Dispatch<T>[] = [], seen = new Set<string>();
  while (left.length > 0) {
    const group = [left.shift()!], [first] = group, kind = joined[first.kernel];
    let dispatch = first;
    if (kind) {
      const operands = ({ tensors }: Dispatch<T>) =>
        tensors.slice(0, kind.operands).filter((tensor) => tensor !== null);
      const known = new Set([...seen, ...operands(first).map(placeOf)]);
      const ready = ({ place }: Virtual) =>
        !("shared" in place) && ("input" in place && !place.over || known.has(placeOf({ place })));
      for (let i = 0; i < left.length && group.length < most; i++) {
        if (left[i].kernel !== first.kernel || !operands(left[i]).every(ready)) continue;
        const together = kind.together([...group, left[i]]);
        if (!together || buffersOf(together) > mostBuffers) continue;
        dispatch = together;
        group.push(...left.splice(i--, 1));
      }
    }
    for (const { tensors } of group) tensors.forEach((tensor) => tensor && seen.add(placeOf(tensor)));
    done.push(dispatch);
  }
  return done;
}

/** Thin products as one, or undefined: of one kind, and their first operand is a common one, or new for each. */
function thinTogether<T extends Virtual>(group: Dispatch<T>[]): Dispatch<T> | undefined {
  const [first] = group;
  const kind = ({ constants, params: [a, b, c] }: Dispatch) => JSON.stringify([constants, a, b, c]);
  if (group.some((other) => kind(first) !== kind(other))) return undefined;
  const common = same(first.tensors[0]!, group[1].tensors[0]!);
  const tensors = group.flatMap(({ tensors: [a, b, y] }, i) => [common && i > 0 ? null : a, b, y]);
  // A buffer bound for writing may be bound once only.
  const bound = tensors.filter((tensor) => tensor !== null).map(placeOf);
  if (common && group.some(({ tensors: [a] }) => !same(a!, first.tensors[0]!))) return undefined;
  if (new Set(bound).size < bound.length) return undefined;
  const sum = (what: "flop" | "bytes") => group.reduce((total, { work }) => total + (work?.[what] ?? 0), 0);
  // Together they have workgroups enough of the usual width.
  const { columns, ...constants } = first.constants ?? {}, narrower = columns === "32u" ? 2 : 1;
  return {
    ...first,
    constants: { ...constants, products: `${group.length}u`, ...common ? { same_first: "true" } : {} },
    tensors: [...tensors, ...Array(tensorsEach * (most - group.length)).fill(null)],
    params: [
      ...first.params.slice(0, 3),
      ...group.map(({ params }) => params[3]),
      ...Array(most - group.length).fill(0),
    ],
    grid: [Math.ceil(Math.max(...group.map(({ grid: [x] }) => x)) / narrower), group.length, 1],
    work: { flop: sum("flop"), bytes: sum("bytes") },
  };
}
