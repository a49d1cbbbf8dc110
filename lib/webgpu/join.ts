/**
 * Dispatches that do not depend on each other as one: alone each is over before it has filled a large GPU, and a dispatch
 * costs some ten microseconds. Thin products on tensor cores, of which LoRA has many, those of q, k and v, of gate and
 * up; and the rotary embeddings of q and k.
 */
import type { Dispatch } from "./dispatch.ts";
import type { Virtual } from "./lower.ts";
import { ropePair } from "./rope_kernels.ts";

const joined = new Set(["gemm_thin_matrix", "gemm_tokens_matrix"]);
/** Products in one dispatch, and tensors of each: two operands, the result. */
const most = 3, tensorsEach = 3;

function placeOf({ place }: Pick<Virtual, "place">): string {
  return JSON.stringify(place);
}

/** All that can be joined. */
export function joinDispatches<T extends Virtual>(dispatches: Dispatch<T>[]): Dispatch<T>[] {
  return joinRopes(joinThinProducts(dispatches));
}

/** Rotary embeddings that stand beside each other, two by two. */
function joinRopes<T extends Virtual>(dispatches: Dispatch<T>[]): Dispatch<T>[] {
  const done: Dispatch<T>[] = [], same = (a: T, b: T) => placeOf(a) === placeOf(b);
  for (const dispatch of dispatches) {
    const before = done.at(-1), pair = before && ropePair(before, dispatch, same);
    if (pair) done[done.length - 1] = pair;
    else done.push(dispatch);
  }
  return done;
}

/**
 * The same dispatches with thin products joined at the place of the first of them. That the later ones may be moved there
 * follows from how lowering works: a tensor is written by the first dispatch that has it, and only read after that; what
 * stands where another stood is a tensor of its own.
 */
export function joinThinProducts<T extends Virtual>(dispatches: Dispatch<T>[]): Dispatch<T>[] {
  const left = [...dispatches], done: Dispatch<T>[] = [], seen = new Set<string>();
  while (left.length > 0) {
    const group = [left.shift()!], [first] = group;
    if (joined.has(first.kernel)) {
      const known = new Set([...seen, ...first.tensors.slice(0, 2).map((tensor) => placeOf(tensor!))]);
      for (let i = 0; i < left.length && group.length < most; i++) {
        const operands = left[i].tensors.slice(0, 2);
        const ready = ({ place }: Virtual) =>
          !("shared" in place) && ("input" in place && !place.over || known.has(placeOf({ place })));
        if (fitsTogether(group, left[i]) && operands.every((tensor) => ready(tensor!))) {
          group.push(...left.splice(i--, 1));
        }
      }
    }
    for (const { tensors } of group) tensors.forEach((tensor) => tensor && seen.add(placeOf(tensor)));
    done.push(group.length > 1 ? together(group) : first);
  }
  return done;
}

/** Whether a dispatch is of the group's kind, and its first operand is the group's common one, or new as all are. */
function fitsTogether<T extends Virtual>(group: Dispatch<T>[], other: Dispatch<T>): boolean {
  const [first, second] = group;
  const kind = ({ kernel, constants, params: [a, b, c] }: Dispatch) => JSON.stringify([kernel, constants, a, b, c]);
  if (kind(first) !== kind(other)) return false;
  const operand = (dispatch: Dispatch<T>, i: number) => placeOf(dispatch.tensors[i]!);
  const common = operand(first, 0) === operand(other, 0);
  if (second && common !== (operand(first, 0) === operand(second, 0))) return false;
  // A buffer bound for writing may be bound once only.
  const bound = group.flatMap((each) => [operand(each, 0), operand(each, 1), operand(each, 2)]);
  return [0, 1, 2].every((i) => common && i === 0 || !bound.includes(operand(other, i)));
}

function together<T extends Virtual>(group: Dispatch<T>[]): Dispatch<T> {
  const [first] = group;
  const common = placeOf(first.tensors[0]!) === placeOf(group[1].tensors[0]!);
  const tensors = group.flatMap(({ tensors: [a, b, y] }, i) => [common && i > 0 ? null : a, b, y]);
  const sum = (what: "flop" | "bytes") => group.reduce((total, { work }) => total + (work?.[what] ?? 0), 0);
  return {
    ...first,
    constants: { ...first.constants, products: `${group.length}u`, ...common ? { same_first: "true" } : {} },
    tensors: [...tensors, ...Array(tensorsEach * (most - group.length)).fill(null)],
    params: [
      ...first.params.slice(0, 3),
      ...group.map(({ params }) => params[3]),
      ...Array(most - group.length).fill(0),
    ],
    grid: [Math.max(...group.map(({ grid: [x] }) => x)), group.length, 1],
    work: { flop: sum("flop"), bytes: sum("bytes") },
  };
}
