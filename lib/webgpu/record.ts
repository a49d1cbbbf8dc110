/**
 * `Ops` that records: a segment becomes a list of nodes with the shapes that its inputs have. What each node turns into
 * is lower.ts's business; here only shapes are worked out, once for each set of input shapes.
 */
import type { Ops, Rows, Value } from "../ops.ts";

/** A value of a recording: an input of the segment or a result of a node. */
export interface Recorded extends Value {
  /** Set for inputs. */
  input?: string;
  /** Set for results. */
  node?: Node;
}

export type Op = keyof Ops<Recorded>;

export interface Node {
  op: Op;
  args: Recorded[];
  // deno-lint-ignore no-explicit-any
  options: any;
  results: Recorded[];
}

/** The operations, appending to `nodes`. The same operation on the same values is recorded once. */
export function recordingOps(nodes: Node[]): Ops<Recorded> {
  const numbers = new Map<Recorded, number>(), found = new Map<string, Recorded[]>();
  const numberOf = (value: Recorded) => numbers.get(value) ?? numbers.set(value, numbers.size).size - 1;
  const record = (op: Op, args: Recorded[], shapes: (readonly number[])[], options: unknown = {}): Recorded[] => {
    const key = `${op}(${args.map(numberOf)})${shapes.join(";")}${JSON.stringify(options)}`;
    let results = found.get(key);
    if (!results) {
      const node: Node = { op, args, options, results: [] };
      results = node.results = shapes.map((shape) => ({ shape, node }));
      nodes.push(node);
      found.set(key, results);
    }
    return results;
  };
  const one = (op: Op, args: Recorded[], shape: readonly number[], options?: unknown) =>
    record(op, args, [shape], options)[0];
  const spans = ({ spans }: Rows<Recorded>) => spans;

  return {
    gatherRows: (table, index) => one("gatherRows", [table, index], [index.shape[0], table.shape[1]]),
    scatterRows: (x, index, like) => one("scatterRows", [x, index], like.shape),
    add: (a, b) => one("add", [a, b], a.shape),
    mul: (a, b) => one("mul", [a, b], a.shape),
    div: (a, b) => one("div", [a, b], a.shape),
    scale: (x, factor) => one("scale", [x], x.shape, { factor }),
    sumRows: (x) => one("sumRows", [x], [x.shape[1]]),
    rmsNorm: (x, weight, options) => one("rmsNorm", [x, weight], x.shape, options),
    rmsNormBackward: (dy, x, weight, options) => one("rmsNormBackward", [dy, x, weight], x.shape, options),
    linear: (x, weight) => one("linear", [x, weight], [x.shape[0], weight.shape[0]]),
    linearBackward: (dy, weight) => one("linearBackward", [dy, weight], [dy.shape[0], weight.shape[1]]),
    matmul(a, b, { plus, ...options } = {}) {
      const shape = [a.shape[options.transA ? 1 : 0], b.shape[options.transB ? 0 : 1]];
      return one("matmul", plus ? [a, b, plus] : [a, b], shape, options);
    },
    adaptedRowNorm: (weight, a, b, options) => one("adaptedRowNorm", [weight, a, b], [weight.shape[0]], options),
    rope: (x, cos, sin, options) => one("rope", [x, cos, sin], x.shape, options),
    attention(q, k, v, rows, options) {
      return this.attentionWithStats!(q, k, v, rows, options).y;
    },
    attentionWithStats(q, k, v, rows, options) {
      const shapes = [q.shape, [q.shape[0], options.heads]];
      const [y, stats] = record("attention", [q, k, v, spans(rows)], shapes, options);
      return { y, stats };
    },
    attentionBackward(dy, q, k, v, rows, { forward, ...options }) {
      const shapes = [q.shape, k.shape, v.shape], given = forward ?? this.attentionWithStats!(q, k, v, rows, options);
      const args = [dy, q, k, v, spans(rows), given.y, given.stats];
      const [dq, dk, dv] = record("attentionBackward", args, shapes, options);
      return { y: given.y, dq, dk, dv };
    },
    attentionCached(q, k, v, { table }, { heads, kvHeads, scale }) {
      const { keys, values, index, spans } = table!;
      return one("attentionCached", [q, k, v, keys, values, index, spans], q.shape, { heads, kvHeads, scale });
    },
    gated: (gate, up, activation) => one("gated", [gate, up], gate.shape, { activation }),
    gatedBackward(dy, gate, up, activation) {
      const shapes = [gate.shape, gate.shape, gate.shape];
      const [y, dgate, dup] = record("gatedBackward", [dy, gate, up], shapes, { activation });
      return { y, dgate, dup };
    },
    crossEntropy(h, weight, targets, options) {
      const [loss, dh] = record("crossEntropy", [h, weight, targets], [targets.shape, h.shape], options);
      return { loss, dh };
    },
  };
}

/** The nodes that the outputs depend on, in order. */
export function neededNodes(nodes: Node[], outputs: Recorded[]): Node[] {
  const wanted = new Set(outputs);
  const kept: Node[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.results.some((result) => wanted.has(result))) continue;
    node.args.forEach((arg) => wanted.add(arg));
    kept.push(node);
  }
  return kept.reverse();
}
