/**
 * What a chat template may cost. A template is a program that came with a model: it may loop, call itself, double a text
 * sixty times, or nest a list in itself sixty times and print it. The interpreter (@huggingface/jinja) knows no limits,
 * so each expression is paid for here as it is evaluated, from a budget that grows with the conversation: the same
 * template and conversation end in the same way on every machine, however slow.
 *
 * The unit is about one character read or written. Work that is larger than its result is paid before it is done.
 */
import type { Interpreter } from "@huggingface/jinja";

/** Runtime values by what is read of them here. */
interface Value {
  type: string;
  value: unknown;
}

interface Node {
  type: string;
  [key: string]: unknown;
}

interface Measure {
  /** Units of a value with everything in it. */
  size: number;
  /** Lists and mappings inside each other. */
  levels: number;
  /** Whether a namespace is in it, which can be given other values. */
  changes: boolean;
}

const nothing: Measure = { size: 0, levels: 0, changes: false };

/** An expression that is being evaluated, and what its parts came to, where that decides its cost. */
interface Frame {
  node: Node;
  parts: (Value & { size: number })[] | null;
}

/** Of an expression; of an element of a list or a mapping; of a turn of a loop, which has an environment of its own. */
const step = 64, element = 64, turn = 512;
/** What there is for any template, and for each unit of the conversation. */
const basicBudget = 1 << 24, budgetPerUnit = 256;
/** Units in one value, beside those of the conversation; lists inside each other. */
const largestValue = 1 << 24, mostLevels = 250;
/**
 * Expressions inside each other, those of a macro inside its call. Before the engine's own stack ends: the interpreter
 * would take that for a variable that is not defined.
 */
const mostNested = 500;

/** Filters that look at a value without going over it. */
const cheapFilters = new Set(["length", "first", "last", "list", "safe", "default", "count"]);

/**
 * Makes the interpreter stop, with an Error of one line, when it costs more than it may. `given` are the values of the
 * conversation, `templateLength` the characters of the template.
 */
export function limitCost(
  interpreter: Interpreter,
  { given, templateLength }: { given: Value[]; templateLength: number },
): void {
  const measured = new WeakMap<Value, Measure>();
  let budget = Infinity, limit = Infinity;
  const input = given.reduce((sum, value) => sum + measure(value).size, 0);
  limit = largestValue + input;
  budget = basicBudget + budgetPerUnit * input;

  function spend(units: number): void {
    budget -= units;
    // Not a number where a template computes with infinities.
    if (!(budget >= 0)) throw new Error("it takes more steps, or writes more, than any chat template needs");
  }

  /** What is in a value twice counts twice. */
  function measure(value: Value): Measure {
    if (typeof value.value === "string") return { size: value.value.length, levels: 0, changes: false };
    const parts = partsOf(value);
    if (!parts) return nothing;
    const known = measured.get(value);
    if (known) return known;
    spend(element);
    const found = { size: element * (1 + parts.length), levels: 1, changes: value.type === "NamespaceValue" };
    for (const part of parts) {
      const { size, levels, changes } = measure(part);
      found.size += size;
      found.levels = Math.max(found.levels, 1 + levels);
      found.changes ||= changes;
    }
    if (found.size > limit) throw new Error(`a value of more than ${limit} characters`);
    if (found.levels > mostLevels) throw new Error(`lists inside each other, more than ${mostLevels} levels deep`);
    if (!found.changes) measured.set(value, found);
    return found;
  }

  let nested = 0;
  let asking: Frame = { node: { type: "" }, parts: null };
  const evaluate = interpreter.evaluate.bind(interpreter) as (node: unknown, scope: unknown) => Value;
  const paid = (node: Node | undefined, scope: { parent?: unknown }): Value => {
    if (!node) return evaluate(node, scope);
    const outer = asking;
    const frame: Frame = { node, parts: hasParts.has(node.type) ? [] : null };
    if (++nested > mostNested) throw new Error("it is nested too deep, or calls itself without end");
    asking = frame;
    spend(step + lookUpCost(node, { scope, templateLength }));
    let result: Value;
    try {
      result = evaluate(node, scope);
    } finally {
      asking = outer;
      nested--;
    }
    const { size } = measure(result);
    if (size > limit) throw new Error(`a text of more than ${limit} characters`);
    if (!looksUp(node)) spend(shallow(result));
    if (node.type === "MemberExpression" && result.type === "FunctionValue") return guarded(result, frame);
    outer.parts?.push({ type: result.type, value: result.value, size });
    spend(useCost({ node, result, size }, outer));
    return result;
  };
  interpreter.evaluate = paid as unknown as typeof interpreter.evaluate;

  /** A method of a value, paid by its arguments when it is called. */
  function guarded(method: Value, { node, parts }: Frame): Value {
    const [owner, computed] = parts!, name = String((computed ?? node.property as Value).value);
    const call = method.value as (args: Value[], scope: unknown) => Value;
    const Method = method.constructor as new (call: unknown) => Value;
    return new Method((args: Value[], scope: unknown) => {
      spend(methodCost(name, { owner, args }) + (name === "dictsort" ? 16 * measure(owner).size : 0));
      return call(args, scope);
    });
  }
}

const hasParts = new Set(["MemberExpression", "FilterExpression", "FilterStatement"]);

function partsOf({ type, value }: Value): Value[] | null {
  if (Array.isArray(value)) return value;
  return value instanceof Map && type !== "FunctionValue" ? [...value.values()] : null;
}

/** Units of a value without what is in its elements: what making it anew costs. */
function shallow({ value }: { value: unknown }): number {
  if (typeof value === "string") return value.length;
  return Array.isArray(value) ? element * value.length : value instanceof Map ? element * value.size : 0;
}

/** Whether a node gives a value that is there already. */
function looksUp({ type, property }: Node): boolean {
  if (type === "MemberExpression") return (property as Node).type !== "SliceExpression";
  return type === "Identifier" || type === "StringLiteral";
}

/** A variable is looked for from scope to scope; of a macro, the whole body is looked through when it is defined. */
function lookUpCost(
  { type }: Node,
  { scope, templateLength }: { scope: { parent?: unknown }; templateLength: number },
): number {
  if (type === "Macro" || type === "CallStatement") return 4 * templateLength;
  let cost = 0;
  if (type === "Identifier") {
    for (let at: typeof scope | undefined = scope; at?.parent; at = at.parent as typeof scope) {
      cost += 8;
    }
  }
  return cost;
}

/** What the asking expression is going to do with a part of it. */
function useCost(
  { node, result, size }: { node: Node; result: Value; size: number },
  { node: asking, parts }: Frame,
): number {
  switch (asking.type) {
    case "BinaryExpression": {
      const { value } = asking.operator as { value: string };
      return value === "and" || value === "or" ? 0 : size;
    }
    case "TestExpression":
      return typeof result.value === "string" ? size : 0;
    case "MemberExpression": {
      const isSliced = asking.object === node && (asking.property as Node).type === "SliceExpression";
      // A text is cut between characters, each of which becomes an element for that.
      return !isSliced ? 0 : typeof result.value === "string" ? element * size : shallow(result);
    }
    case "For": {
      const { iterable } = asking as unknown as { iterable: { lhs?: unknown } };
      return node === iterable || node === iterable.lhs ? turn / element * shallow(result) : 0;
    }
    case "CallExpression":
      return Array.isArray(result.value) ? result.value.length : 0;
    case "FilterExpression":
    case "FilterStatement":
      return filterCost(asking.filter as Node, {
        ...{ parts: parts!, size, isBlock: asking.type === "FilterStatement" },
      });
  }
  return 0;
}

/** `parts`: the text or list, then the arguments that are known by now; of a block's filter, what is in the block first. */
function filterCost(
  filter: Node,
  { parts, size, isBlock }: { parts: { value: unknown; size: number }[]; size: number; isBlock: boolean },
): number {
  const name = String((filter.type === "CallExpression" ? filter.callee as Node : filter).value);
  if (cheapFilters.has(name)) return 0;
  // Comparisons of whole texts, several for each element.
  if (name === "sort") return 32 * size;
  const whole = parts.reduce((sum, part) => sum + part.size, 1);
  // So many blanks before each line; in JSON for each level, and an element has a quarter of `mostLevels` units.
  const width = parts.reduce(
    (most, { value }) => typeof value === "number" ? Math.max(most, Math.abs(value)) : most,
    1,
  );
  if (name === "indent" || name === "tojson") return (name === "tojson" ? 4 : 1) * width * whole;
  // Of a block's filter the text is in several parts.
  if (isBlock && (name === "replace" || name === "join")) return whole * whole;
  const [owner, ...args] = parts;
  if (name === "replace") return methodCost(name, { owner, args });
  if (name === "join") {
    return size +
      (args.length === 0 ? 0 : whole * (args[0].size + 1) / (typeof owner.value === "string" ? 1 : element));
  }
  return size;
}

/** What a method may write: split() an element for each piece, replace() the new text in place of each piece found. */
function methodCost(name: string, { owner, args }: { owner: { value: unknown }; args: { value: unknown }[] }): number {
  if (typeof owner.value !== "string") return shallow(owner);
  const length = owner.value.length;
  if (name !== "split" && name !== "replace") return length;
  const [found = "", put = ""] = args.flatMap(({ value }) =>
    Array.isArray(value) ? value.map((one) => one.value) : value
  )
    .map((value) => typeof value === "string" ? value : "");
  return length + (length / Math.max(1, found.length) + 1) * (element + (name === "split" ? 0 : put.length));
}
