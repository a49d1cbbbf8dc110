/**
 * ONNX graphs as bytes: a builder of nodes and constants, and the few protobuf messages of onnx.proto3 that a model
 * file needs. No reading, no shape inference. Field numbers: https://github.com/onnx/onnx/blob/v1.18.0/onnx/onnx.proto3
 */

/** ONNX element types (TensorProto.DataType). */
export const elementType = { float: 1, int32: 6, int64: 7, bool: 9, f16: 10, bf16: 16 } as const;
export type ElementType = keyof typeof elementType;

export type Attribute = number | { int: number } | { ints: number[] } | { string: string };

export interface Graph {
  /** Declares a graph input; its shape is left open. */
  input(name: string, type: ElementType): string;
  /** Adds a node and returns the names of its outputs. */
  node(op: string, inputs: string[], options?: NodeOptions): string[];
  /** A constant, shared when the same was made before. */
  constant(type: "float" | "int64", values: number[], shape?: number[]): string;
  /** Names a value as a graph output. */
  output(value: string, name: string, type?: ElementType): void;
  /** The ModelProto. */
  bytes(): Uint8Array;
}

export interface NodeOptions {
  outputs?: number;
  /** Numbers are float attributes; integers are written { int: n }. */
  attributes?: Record<string, Attribute>;
  domain?: string;
}

interface Node {
  op: string;
  inputs: string[];
  outputs: string[];
  options: NodeOptions;
}

export function createGraph(name: string): Graph {
  const nodes: Node[] = [];
  /** Values that are graph outputs, by their name before. */
  const renamed = new Map<string, string>();
  const inputs: Uint8Array[] = [];
  const outputs: Uint8Array[] = [];
  const initializers: Uint8Array[] = [];
  const constants = new Map<string, string>();
  const outputNames: string[] = [];
  let counter = 0;

  function node(op: string, nodeInputs: string[], options: NodeOptions = {}): string[] {
    const names = Array.from({ length: options.outputs ?? 1 }, () => `${op}_${counter++}`);
    nodes.push({ op, inputs: nodeInputs, outputs: names, options });
    return names;
  }

  function encode({ op, inputs, outputs, options }: Node): Uint8Array {
    const named = (name: string) => renamed.get(name) ?? name;
    return message([
      ...inputs.map((x) => text(1, named(x))),
      ...outputs.map((x) => text(2, named(x))),
      text(4, op),
      ...Object.entries(options.attributes ?? {}).map(([key, value]) => bytes(5, attribute(key, value))),
      ...(options.domain ? [text(7, options.domain)] : []),
    ]);
  }

  /** Nodes that an output depends on, in order: what was recorded and is not asked for must not run. */
  function needed(): Uint8Array[] {
    const wanted = new Set(outputNames);
    const kept: Uint8Array[] = [];
    for (const each of nodes.toReversed()) {
      if (!each.outputs.some((name) => wanted.has(name))) continue;
      each.inputs.forEach((name) => wanted.add(name));
      kept.push(encode(each));
    }
    return kept.reverse();
  }

  return {
    node,
    input(inputName, type) {
      inputs.push(valueInfo(inputName, type));
      return inputName;
    },
    constant(type, values, shape = [values.length]) {
      const key = `${type}|${shape}|${values}`;
      let constantName = constants.get(key);
      if (!constantName) {
        constantName = `constant_${constants.size}`;
        constants.set(key, constantName);
        const raw = type === "float"
          ? new Uint8Array(new Float32Array(values).buffer)
          : new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer);
        initializers.push(message([
          ...shape.map((d) => integer(1, d)),
          integer(2, elementType[type]),
          text(8, constantName),
          bytes(9, raw),
        ]));
      }
      return constantName;
    },
    output(value, outputName, type = "float") {
      // A node writes its output in place; inputs, constants and values that are outputs already need a copy.
      if (renamed.has(value) || !nodes.some((each) => each.outputs.includes(value))) {
        nodes.push({ op: "Identity", inputs: [value], outputs: [outputName], options: {} });
        outputNames.push(outputName);
      } else {
        renamed.set(value, outputName);
        outputNames.push(value);
      }
      outputs.push(valueInfo(outputName, type));
    },
    bytes() {
      const graph = message([
        ...needed().map((x) => bytes(1, x)),
        text(2, name),
        ...initializers.map((x) => bytes(5, x)),
        ...inputs.map((x) => bytes(11, x)),
        ...outputs.map((x) => bytes(12, x)),
      ]);
      return message([
        integer(1, 9), // IR version
        text(2, "ftl"),
        bytes(7, graph),
        bytes(8, message([text(1, ""), integer(2, 20)])),
        bytes(8, message([text(1, "com.microsoft"), integer(2, 1)])),
      ]);
    },
  };
}

function valueInfo(name: string, type: ElementType): Uint8Array {
  return message([text(1, name), bytes(2, message([bytes(1, message([integer(1, elementType[type])]))]))]);
}

function attribute(name: string, value: Attribute): Uint8Array {
  if (typeof value === "number") return message([text(1, name), float(2, value), integer(20, 1)]);
  if ("int" in value) return message([text(1, name), integer(3, value.int), integer(20, 2)]);
  if ("string" in value) return message([text(1, name), text(4, value.string), integer(20, 3)]);
  return message([text(1, name), ...value.ints.map((i) => integer(8, i)), integer(20, 7)]);
}

// Protobuf wire format: each field is a tag (number << 3 | wire type) and its payload.

function varint(value: number): number[] {
  let rest = BigInt.asUintN(64, BigInt(value));
  const out: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    out.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return out;
}

function integer(field: number, value: number): Uint8Array {
  return new Uint8Array([...varint(field << 3), ...varint(value)]);
}

function float(field: number, value: number): Uint8Array {
  return new Uint8Array([...varint(field << 3 | 5), ...new Uint8Array(new Float32Array([value]).buffer)]);
}

function bytes(field: number, payload: Uint8Array): Uint8Array {
  return message([new Uint8Array([...varint(field << 3 | 2), ...varint(payload.length)]), payload]);
}

function text(field: number, value: string): Uint8Array {
  return bytes(field, new TextEncoder().encode(value));
}

function message(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
