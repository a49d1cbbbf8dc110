/** Single nodes as kernel calls, one handler an operation. `add` and LoRA's second products are taken by lower.ts. */
import {
  attention,
  attentionBackward,
  attentionCached,
  attentionCachedPartialShape,
  attentionDeltaShape,
} from "./attention_kernels.ts";
import { softmaxGradient, softmaxLoss } from "./cross_entropy_kernels.ts";
import { binary, cast, fill, gatherRows, scale, scatterRows, sumRows } from "./elementwise_kernels.ts";
import { gated, gatedBackwardInPlace } from "./gated_kernels.ts";
import { gemm } from "./gemm_kernels.ts";
import type { Lowering, Virtual } from "./lower.ts";
import { rmsNorm, rowNorm } from "./norm_kernels.ts";
import type { Node, Recorded } from "./record.ts";
import { ropeStore } from "./rope_kernels.ts";

/**
 * Gradients of logits are probabilities: times this they use f16's whole range, and the product that follows divides
 * again.
 */
const logitGradientScale = 256;

export function lowerNode(node: Node, lowering: Lowering): void {
  const { op, args, results, options } = node;
  const { emit, tensor, operand, result, temp, defer, products, target, inputs } = lowering;
  const [y] = results;
  /** A matrix that was given as a frozen weight, by name, or as any value. */
  const weightOf = ({ input }: Recorded) => input !== undefined && inputs[input].weight ? { weight: input } : {};
  const dense = (value: Recorded) => "weight" in weightOf(value) ? {} : { b: operand(value) };
  /** Results of one element type: the wider. */
  const alike = (values: Recorded[]): Virtual[] => {
    const made = values.map((value) => result(value));
    return made.every(({ dtype }) => dtype === made[0].dtype) ? made : values.map((value) => result(value, "f32"));
  };
  switch (op) {
    case "gatherRows": {
      const [table, index] = args, weight = table.input === undefined ? undefined : inputs[table.input].weight;
      const out = result(y), rows = tensor(index);
      if (!weight) return emit(gatherRows(tensor(table), rows, out, {}));
      let firstRow = 0;
      for (const [part, count] of weight.rows.entries()) {
        emit(gatherRows(products.part(table.input!, part), rows, out, { firstRow }));
        firstRow += count;
      }
      return;
    }
    case "scatterRows": {
      const out = result(y);
      return emit(fill(out, 0), scatterRows(tensor(args[0]), tensor(args[1]), out));
    }
    case "mul":
    case "div":
      return emit(binary(op, tensor(args[0]), tensor(args[1]), result(y)));
    case "scale":
      return emit(scale(tensor(args[0]), result(y), options.factor));
    case "sumRows":
      return emit(sumRows(tensor(args[0]), result(y)));
    case "rmsNorm":
      return emit(rmsNorm(tensor(args[0]), tensor(args[1]), result(y), options));
    case "rmsNormBackward": {
      const [dy, x, weight] = args.map(tensor);
      return defer(y, { kind: "norm", dy, x, weight, eps: options.eps });
    }
    case "linear":
      return defer(y, {
        kind: "gemm",
        gemm: { a: operand(args[0]), transB: true, ...dense(args[1]) },
        ...weightOf(args[1]),
      });
    case "linearBackward":
      return defer(y, {
        kind: "gemm",
        gemm: { a: operand(args[0]), ...dense(args[1]) },
        ...weightOf(args[1]),
        backward: true,
      });
    case "matmul": {
      const [a, b] = [operand(args[0]), operand(args[1])];
      const product = { a, b, transA: options.transA, transB: options.transB, scale: options.scale };
      const plus = args[2] && tensor(args[2]);
      return defer(y, { kind: "gemm", gemm: plus ? { ...product, plus } : product });
    }
    case "adaptedRowNorm":
      return lowerAdaptedRowNorm(node, lowering);
    case "rope":
      return defer(y, { kind: "rope", x: tensor(args[0]), cos: tensor(args[1]), sin: tensor(args[2]), ...options });
    case "attention": {
      const [q, k, v] = args.slice(0, 3).map(operand), spans = tensor(args[3]);
      const lse = result(results[1], "f32");
      return emit(...attention(target, { q, k, v, spans, y: result(y), lse }, options));
    }
    case "attentionBackward": {
      const [dy, , , , spans, y, lse] = args.map(tensor), [q, k, v] = args.slice(1, 4).map(operand);
      const dq = result(results[0]), [dk, dv] = alike(results.slice(1));
      const delta = temp(attentionDeltaShape(q, options), "f32");
      return emit(...attentionBackward(target, { dy, q, k, v, y, lse, spans, delta, dq, dk, dv }, options));
    }
    case "attentionCached":
      return lowerAttentionCached(node, lowering);
    case "gated":
      return emit(gated(tensor(args[0]), tensor(args[1]), result(y), options.activation));
    case "gatedBackward": {
      const [dy, gate, up] = args.map((arg, i) => lowering.over(arg, results[i], node));
      return emit(gatedBackwardInPlace(dy, gate, up, options.activation));
    }
    case "crossEntropy":
      return lowerCrossEntropy(node, lowering);
    default:
      throw new Error(`${op} is not lowered here`);
  }
}

/** Stores keys and values, where it can be in one go with the rotations before it, and attends. */
function lowerAttentionCached({ args, results: [y], options }: Node, lowering: Lowering): void {
  const { emit, tensor, result, temp, target, turning, settle } = lowering;
  const [v, keys, values, index, spans] = args.slice(2).map(tensor);
  const [q, k] = [turning(args[0]), turning(args[1])];
  if (q && k && q.cos === k.cos && q.sin === k.sin) {
    emit(ropeStore({ q: q.x, k: k.x, v, cos: q.cos, sin: q.sin, index, keys, values }, options));
    settle(args[0], q.x);
  } else {
    const table = (cache: Virtual) => ({ ...cache, shape: [cache.shape[0] * cache.shape[1], cache.shape[2]] });
    emit(scatterRows(tensor(args[1]), index, table(keys)), scatterRows(v, index, table(values)));
  }
  const asked = tensor(args[0]), same = asked.dtype === keys.dtype;
  const queries = same ? asked : temp(asked.shape, keys.dtype);
  if (!same) emit(cast(asked, queries));
  const shape = attentionCachedPartialShape({ q: queries, keys }, options);
  const partial = shape && temp(shape, "f32");
  emit(...attentionCached(target, { q: queries, keys, values, spans, y: result(y), partial }, options));
}

/** Norms of the rows of W + scale*B*A, by parts where W is in several. */
function lowerAdaptedRowNorm({ args: [weight, a, b], results, options: { scale } }: Node, lowering: Lowering): void {
  const { emit, tensor, operand, result, temp, products, target, inputs } = lowering, [O, I] = weight.shape;
  const frozen = inputs[weight.input!]?.weight, norms = result(results[0]), parts = frozen?.rows ?? [O];
  let first = 0;
  for (const [part, rows] of parts.entries()) {
    // A part fits a binding as an operand; in f32 it may not, and single roundings are lost in a norm.
    const whole = temp([rows, I], 4 * rows * I <= target.maxBinding ? "f32" : "f16");
    if (frozen) products.writeOut(weight.input!, part, whole);
    else emit(cast(tensor(weight), whole));
    const own = parts.length === 1 ? operand(b) : products.rowsOf(operand(b), { row: first, rows });
    emit(...gemm(target, { a: own, b: operand(a), y: whole, scale, accumulate: true }));
    emit(rowNorm(whole, norms, { first }));
    first += rows;
  }
}

/** Logits of all N positions exist for the length of this node: [N, V] in f32, and once more as their gradient. */
function lowerCrossEntropy({ args, results, options }: Node, lowering: Lowering): void {
  const { emit, tensor, operand, result, temp, products, target, inputs } = lowering;
  const [h, weight, targets] = args, [loss, dh] = results, frozen = inputs[weight.input!]?.weight;
  const [N] = h.shape, [V] = weight.shape;
  const logits = temp([N, V], "f32"), stats = temp([N, 2], "f32");
  const a = operand(h);
  if (frozen) products.emit({ a, transB: true, y: logits }, { weight: weight.input });
  else emit(...gemm(target, { a, b: operand(weight), transB: true, y: logits }));
  emit(softmaxLoss(logits, tensor(targets), result(loss), stats));
  if (!lowering.reads(dh)) return;
  const factor = target.f16 ? logitGradientScale : 1;
  const out = result(dh), rows = frozen?.rows ?? [V];
  let start = 0;
  for (const [part, count] of rows.entries()) {
    const dlogits = temp([N, count], target.f16 ? "f16" : "f32");
    const scale = options.scale * factor;
    emit(softmaxGradient(logits, tensor(targets), stats, dlogits, { scale, firstColumn: start }));
    const b = frozen ? products.part(weight.input!, part) : operand(weight);
    emit(...gemm(target, { a: dlogits, b, y: out, scale: 1 / factor, accumulate: part > 0 }));
    start += count;
  }
}
