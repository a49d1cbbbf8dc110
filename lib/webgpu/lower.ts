/**
 * Recorded nodes to kernel calls: which kernel, in which element type, what fuses. Three decisions are made here.
 *
 * Types: with f16, what only products and their neighbours read is f16; the residual stream, norms' gradients, losses
 * and parameters' gradients stay f32.
 * Fusing: a product whose only reader adds something to it (a residual, a bias, the other half of a gradient, LoRA's
 * second product) takes the addition into its epilogue; so does the gradient of a norm. Attention against a cache turns
 * queries and keys itself, and the queries where they are.
 * Memory: results that do not leave the segment are temporaries, placed by temporaries.ts; a kernel that works in place
 * writes over what is read for the last time.
 */
import type { Dispatch, Dtype, KernelTarget, TensorLike } from "./dispatch.ts";
import { binary, cast } from "./elementwise_kernels.ts";
import { lowerNode } from "./lower_node.ts";
import { rmsNormBackward } from "./norm_kernels.ts";
import { makeProducts, type Product, type Products, type Weight } from "./products.ts";
import type { Node, Op, Recorded } from "./record.ts";
import { rope } from "./rope_kernels.ts";

/** A tensor of a recording, by where it will be found when the segment runs. */
export interface Virtual extends TensorLike {
  place:
    & (
      /** An input, or a part of one: `field` of part `part` of a weight, or the f16 copy of a parameter. */
      | { input: string; field?: string; part?: number }
      | { output: string }
      | { temp: number }
      /** Scratch that all segments share for a weight in the making. */
      | { shared: "weight" }
    )
    /** Set for a result that stands where what it was made of stood. */
    & { over?: true };
}

/** What lowering must know of an input. */
export interface InputInfo {
  shape: readonly number[];
  dtype: Dtype;
  /** Made from host data and kept: an f16 copy is kept beside it. */
  persistent: boolean;
  weight?: Weight;
}

export interface LowerOptions {
  target: KernelTarget;
  inputs: Record<string, InputInfo>;
  outputs: Record<string, Recorded>;
  /** Inputs that may be written over. */
  consumes?: readonly string[];
}

export interface Lowered {
  dispatches: Dispatch<Virtual>[];
  /** Outputs by name. */
  outputs: Map<string, Virtual>;
}

/** What handlers of single nodes work with. */
export interface Lowering extends LowerOptions {
  products: Products;
  emit(...dispatches: Dispatch<Virtual>[]): void;
  /** Where a value is; computes it now if that was put off. */
  tensor(value: Recorded): Virtual;
  /** The same in the element type that products take. */
  operand(value: Recorded): Virtual;
  /** Makes the place of a result. */
  result(value: Recorded, dtype?: Dtype): Virtual;
  /**
   * A value's numbers where a kernel that works in place makes `becomes` of them: the value itself where nothing reads it
   * after `node`, else a copy.
   */
  over(value: Recorded, becomes: Recorded, node: Node): Virtual;
  temp(shape: readonly number[], dtype: Dtype): Virtual;
  /** Whether anything depends on a result. */
  reads(value: Recorded): boolean;
  /** Puts work off until its reader comes. */
  defer(value: Recorded, product: Deferred): void;
  /** A rotation that was put off, if what it turns is nobody else's and may be overwritten. */
  turning(value: Recorded): Turning | undefined;
  /** Says where a value is that its reader computes instead. */
  settle(value: Recorded, tensor: Virtual): void;
}

/** A rotation that is put off. */
export interface Turning {
  kind: "rope";
  x: Virtual;
  cos: Virtual;
  sin: Virtual;
  heads: number;
  inverse?: boolean;
}

/** Work put off until it is known what is added to it, or who reads it. */
export type Deferred =
  | Turning
  | { kind: "gemm"; gemm: Omit<Product, "y">; weight?: string; backward?: boolean }
  | { kind: "norm"; dy: Virtual; x: Virtual; weight: Virtual; eps: number; plus?: Virtual };

/** Results that are f32 whoever reads them: the residual stream and what is added up over tokens or layers. */
const wideOutput = /^(x|y|mid|dx|dy|loss|logits|norm|.*\.grad)$/;
const narrowOps = new Set(
  "rmsNorm linear linearBackward matmul rope attention attentionBackward attentionCached gated gatedBackward".split(
    " ",
  ),
);
/** Operations that may run later than they stand. */
const lateOps = new Set(["linear", "linearBackward", "matmul", "rmsNormBackward", "rope"]);
const wideReaders = new Set(["add", "mul", "div", "scale", "sumRows"]);

export function lower(nodes: Node[], options: LowerOptions): Lowered {
  const { target, inputs, outputs, consumes = [] } = options;
  const dispatches: Dispatch<Virtual>[] = [];
  const places = new Map<Recorded, Virtual>(), casts = new Map<Virtual, Virtual>();
  const deferred = new Map<Recorded, Deferred>();
  const readers = new Map<Recorded, Node[]>();
  for (const node of nodes) for (const arg of node.args) readers.set(arg, [...readers.get(arg) ?? [], node]);
  const outputNames = new Map<Recorded, string>();
  for (const [name, value] of Object.entries(outputs)) if (!outputNames.has(value)) outputNames.set(value, name);
  let temps = 0;

  const emit = (...more: Dispatch<Virtual>[]) => void dispatches.push(...more);
  const temp = (shape: readonly number[], dtype: Dtype): Virtual => ({ shape, dtype, place: { temp: temps++ } });

  function dtypeOf(value: Recorded): Dtype {
    if (!target.f16) return "f32";
    const name = outputNames.get(value), op = value.node!.op, biased = isBias(value.node!);
    if (!narrowOps.has(op) && !biased) return "f32";
    if (name !== undefined && wideOutput.test(name)) return "f32";
    const wide = (readers.get(value) ?? []).some((node) => wideReaders.has(node.op) && !isBias(node));
    return wide ? "f32" : "f16";
  }

  function result(value: Recorded, dtype = dtypeOf(value)): Virtual {
    const name = outputNames.get(value);
    const made: Virtual = name === undefined
      ? temp(value.shape, dtype)
      : { shape: value.shape, dtype, place: { output: name } };
    places.set(value, made);
    return made;
  }

  function tensor(value: Recorded): Virtual {
    const late = deferred.get(value);
    if (late) {
      deferred.delete(value);
      compute(value, late);
    }
    let found = places.get(value);
    if (!found) {
      if (value.input === undefined) throw new Error(`${value.node?.op} is read before it is computed`);
      const { shape, dtype } = inputs[value.input];
      places.set(value, found = { shape, dtype, place: { input: value.input } });
    }
    return found;
  }

  function operand(value: Recorded): Virtual {
    const found = tensor(value), wanted: Dtype = target.f16 ? "f16" : "f32";
    if (found.dtype === wanted) return found;
    let narrow = casts.get(found);
    if (!narrow) {
      const { input } = value;
      if (input !== undefined && inputs[input].persistent) {
        narrow = { shape: found.shape, dtype: wanted, place: { input, field: "half" } };
      } else {
        narrow = temp(found.shape, wanted);
        emit(cast(found, narrow));
      }
      casts.set(found, narrow);
    }
    return narrow;
  }

  function compute(value: Recorded, late: Deferred): void {
    const y = result(value);
    if (late.kind === "norm") {
      const half = y.dtype === "f32" && target.f16 && readers.get(value)?.some(({ op }) => takesOperands(op))
        ? temp(y.shape, "f16")
        : undefined;
      emit(rmsNormBackward(late.dy, late.x, late.weight, y, { ...late, half }));
      if (half) casts.set(y, half);
    } else if (late.kind === "rope") emit(rope(late.x, late.cos, late.sin, y, late));
    else products.emit({ ...late.gemm, y }, late);
  }

  /** Whether a value's only reader may take it into its own computation. */
  function defer(value: Recorded, product: Deferred): void {
    const found = readers.get(value) ?? [];
    const takes = product.kind === "rope"
      ? found[0]?.op === "attentionCached"
      : found[0]?.op === "add" || found[0] && isLowRank(found[0], value);
    if (found.length === 1 && !outputNames.has(value) && takes) deferred.set(value, product);
    else compute(value, product);
  }

  function turning(value: Recorded): Turning | undefined {
    const late = deferred.get(value);
    if (late?.kind !== "rope" || late.inverse) return undefined;
    return "temp" in late.x.place && readers.get(value.node!.args[0])!.length === 1 ? late : undefined;
  }

  function settle(value: Recorded, found: Virtual): void {
    deferred.delete(value);
    places.set(value, found);
  }

  /** plus + value, with the value's own computation doing it; false when it cannot. */
  function absorb(node: Node, value: Recorded, plus: Recorded): boolean {
    const late = deferred.get(value);
    if (!late || late.kind === "rope" || (late.kind === "gemm" ? late.gemm.plus : late.plus)) return false;
    const vector = plus.shape.length < value.shape.length;
    if (late.kind === "norm" && vector) return false;
    const added = tensor(plus);
    deferred.delete(value);
    if (late.kind === "norm") defer(node.results[0], { ...late, plus: added });
    else defer(node.results[0], { ...late, gemm: { ...late.gemm, plus: added } });
    return true;
  }

  /** Whether a value's place is free when a node is done. */
  function expires(value: Recorded, node: Node): boolean {
    const found = readers.get(value)!;
    return found.filter((each) => each === node).length === 1 && found[found.length - 1] === node &&
      !found.some(({ op }) => lateOps.has(op)) && !outputNames.has(value) &&
      (value.input === undefined || consumes.includes(value.input));
  }

  function over(value: Recorded, becomes: Recorded, node: Node): Virtual {
    const found = tensor(value);
    if (found.dtype === dtypeOf(becomes) && !outputNames.has(becomes) && expires(value, node)) {
      const made: Virtual = { ...found, place: { ...found.place, over: true } };
      places.set(becomes, made);
      return made;
    }
    const copy = result(becomes);
    emit(cast(found, copy));
    return copy;
  }

  const reads = (value: Recorded) => readers.has(value) || outputNames.has(value);
  const products = makeProducts({ target, emit, temp, inputs });
  const lowering: Lowering = {
    ...{ ...options, products, emit, tensor, operand, result, over, temp, reads, defer, turning, settle },
  };

  for (const node of nodes) {
    const { op, args, results } = node;
    if (op === "add") {
      const [a, b] = args;
      if (a !== b && (absorb(node, b, a) || absorb(node, a, b))) continue;
      emit(binary("add", tensor(a), tensor(b), result(results[0])));
      continue;
    }
    if (op === "matmul" && args.length === 3) {
      const late = isLowRank(node, args[2]) ? deferred.get(args[2]) : undefined;
      if (late?.kind === "gemm" && !late.gemm.low && !late.gemm.plus && (late.gemm.scale ?? 1) === 1) {
        deferred.delete(args[2]);
        const low = { a: operand(args[0]), b: operand(args[1]), scale: node.options.scale ?? 1 };
        defer(results[0], { ...late, gemm: { ...late.gemm, low } });
        continue;
      }
    }
    lowerNode(node, lowering);
  }
  const made = new Map<string, Virtual>();
  for (const [name, value] of Object.entries(outputs)) {
    const found = tensor(value);
    if ("output" in found.place && found.place.output === name) made.set(name, found);
    else {
      const copy: Virtual = { shape: value.shape, dtype: found.dtype, place: { output: name } };
      emit(cast(found, copy));
      made.set(name, copy);
    }
  }
  return { dispatches, outputs: made };
}

/** Whether an operation reads f32 values in f16, where there is f16. */
function takesOperands(op: Op): boolean {
  return op === "linear" || op === "linearBackward" || op === "matmul";
}

/** A vector added to every row. */
function isBias({ op, args }: Node): boolean {
  return op === "add" && args[1].shape.length === 1 && args[0].shape.length > 1;
}

/** Whether the node adds a product of low rank to `value`, transposed as the value's own product is. */
function isLowRank({ op, args, options }: Node, value: Recorded): boolean {
  if (op !== "matmul" || args[2] !== value || options.transA) return false;
  const producer = value.node?.op;
  return options.transB ? producer === "linear" : producer === "linearBackward";
}
