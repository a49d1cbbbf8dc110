import assert from "node:assert/strict";
import { type ByteSource, bytesSource } from "../../lib/formats/byte_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { type TypedValue, writeGguf } from "../../lib/formats/gguf_write.ts";
import { inFileOrder, type LazyTensor } from "../../lib/formats/tensor_file.ts";
import { concat, le, utf8 } from "../helpers/bytes.ts";
import { goldenGguf } from "../helpers/golden.ts";

const open = (bytes: Uint8Array) => openGguf(bytesSource(bytes, "m.gguf"));
const string = (text: string) => concat([le(utf8(text).length, 8), utf8(text)]);

Deno.test("openGguf() reads a hand-written file of version 2 and 3", () => {
  for (const version of [2, 3]) {
    const header = concat([
      utf8("GGUF"),
      le(version, 4),
      le(1, 8), // tensors
      le(2, 8), // keys
      ...[string("general.architecture"), le(8, 4), string("llama")],
      ...[string("general.alignment"), le(4, 4), le(64, 4)],
      ...[string("w"), le(2, 4), le(3, 8), le(2, 8), le(0, 4), le(0, 8)], // 2 rows of 3, F32, at data offset 0
    ]);
    const padding = new Uint8Array(64 - header.length % 64);
    const data = new Float32Array([1, 2, 3, 4, 5, 6]);
    const file = open(concat([header, padding, new Uint8Array(data.buffer)]));
    assert.equal(file.version, version);
    assert.equal(file.alignment, 64);
    assert.deepEqual([...file.metadata], [["general.architecture", "llama"], ["general.alignment", 64]]);
    assert.deepEqual([...file.types.values()], ["string", "uint32"]);
    assert.deepEqual(file.tensors.get("w"), {
      name: "w",
      dtype: "F32",
      shape: [2, 3],
      offset: header.length + padding.length,
      byteLength: 24,
    });
    assert.deepEqual(new Float32Array(file.bytes("w").slice().buffer), data);
  }
});

Deno.test("openGguf() reads every value type as gguf-py wrote it", () => {
  const { file, close } = goldenGguf("gguf/blocks.gguf");
  const expected: Record<string, [unknown, string]> = {
    "general.architecture": ["llama", "string"],
    "test.uint8": [200, "uint8"],
    "test.int8": [-100, "int8"],
    "test.uint16": [60000, "uint16"],
    "test.int16": [-30000, "int16"],
    "test.uint32": [4000000000, "uint32"],
    "test.int32": [-2000000000, "int32"],
    "test.uint64": [2n ** 64n - 1n, "uint64"],
    "test.uint64_small": [2 ** 53 - 1, "uint64"],
    "test.int64": [-(2n ** 63n), "int64"],
    "test.float32": [Math.fround(1e-5), "float32"],
    "test.float64": [0.1, "float64"],
    "test.bool": [true, "bool"],
    "test.string": ["Grüße, 世界 🙂", "string"],
    "test.strings": [["a", "", "Ġthe", "é".repeat(40), "x".repeat(100)], "string[]"],
    "test.ints": [new Int32Array([1, -2, 3]), "int32[]"],
    "test.floats": [new Float32Array([0.5, -1.25]), "float32[]"],
    "test.bools": [[true, false, true], "bool[]"],
  };
  assert.deepEqual([...file.metadata.keys()].sort(), Object.keys(expected).sort());
  for (const [key, [value, type]] of Object.entries(expected)) {
    assert.deepEqual(file.metadata.get(key), value, key);
    assert.equal(file.types.get(key), type, key);
  }
  assert.deepEqual(file.tensors.get("Q6_K.random")!.shape, [7, 256]);
  close();
});

Deno.test("openGguf() accepts empty files of tensors, empty tensors, scalars and names JavaScript treats specially", () => {
  assert.equal(open(concat([utf8("GGUF"), le(3, 4), le(0, 8), le(0, 8)])).tensors.size, 0);
  const file = open(concat(writeGguf([["__proto__", { type: "uint8", value: 1 }]], [
    { name: "__proto__", dtype: "F32", shape: [], byteLength: 4, data: () => new Uint8Array(4) },
    { name: "constructor", dtype: "F32", shape: [0, 3], byteLength: 0, data: () => new Uint8Array(0) },
  ])));
  assert.deepEqual([...file.metadata.keys()], ["__proto__"]);
  assert.equal(file.bytes("__proto__").length, 4);
  assert.equal(file.bytes("constructor").length, 0);
});

const everyType: [string, TypedValue][] = [
  ["u8", { type: "uint8", value: 255 }],
  ["i8", { type: "int8", value: -128 }],
  ["u16", { type: "uint16", value: 65535 }],
  ["i16", { type: "int16", value: -32768 }],
  ["u32", { type: "uint32", value: 2 ** 32 - 1 }],
  ["i32", { type: "int32", value: -(2 ** 31) }],
  ["f32", { type: "float32", value: 0.5 }],
  ["bool", { type: "bool", value: false }],
  ["string", { type: "string", value: 'quotes "\n" and 🙂\0' }],
  ["u64", { type: "uint64", value: 2n ** 64n - 1n }],
  ["i64", { type: "int64", value: -(2n ** 63n) }],
  ["f64", { type: "float64", value: Math.PI }],
  ["u8s", { type: "uint8[]", value: new Uint8Array([1, 255]) }],
  ["i8s", { type: "int8[]", value: new Int8Array([-1, 127]) }],
  ["u16s", { type: "uint16[]", value: new Uint16Array([1, 65535]) }],
  ["i16s", { type: "int16[]", value: new Int16Array([-1, 32767]) }],
  ["u32s", { type: "uint32[]", value: new Uint32Array([1, 2 ** 32 - 1]) }],
  ["i32s", { type: "int32[]", value: new Int32Array([-1, 5]) }],
  ["f32s", { type: "float32[]", value: new Float32Array([1.5, -0]) }],
  ["bools", { type: "bool[]", value: [true, false] }],
  ["strings", { type: "string[]", value: ["", "é", "x".repeat(70_000)] }],
  ["u64s", { type: "uint64[]", value: new BigUint64Array([2n ** 64n - 1n]) }],
  ["i64s", { type: "int64[]", value: new BigInt64Array([-1n]) }],
  ["f64s", { type: "float64[]", value: new Float64Array([1e300]) }],
  ["none", { type: "string[]", value: [] }],
];

Deno.test("writeGguf() gives back metadata of every type, and tensors one at a time", () => {
  const order: string[] = [];
  const tensor = (name: string, dtype: string, shape: number[], byteLength: number): LazyTensor => ({
    name,
    dtype,
    shape,
    byteLength,
    data: () => (order.push(name), Uint8Array.from({ length: byteLength }, (_, i) => i + name.length)),
  });
  const tensors = [
    tensor("token_embd.weight", "Q8_0", [3, 64], 3 * 68),
    tensor("blk.0.attn_q.weight", "F16", [2, 2, 5], 40),
    tensor("output_norm.weight", "F32", [31], 124),
    tensor("x".repeat(63), "BF16", [1], 2),
  ];
  for (const alignment of [32, 64, 8]) {
    order.length = 0;
    const chunks: Uint8Array[] = [];
    for (
      const chunk of writeGguf([["general.alignment", { type: "uint32", value: alignment }], ...everyType], tensors)
    ) {
      if (chunks.length === 0) assert.equal(order.length, 0, "the header comes before any data");
      chunks.push(chunk);
    }
    const bytes = concat(chunks), file = open(bytes);
    assert.equal(bytes.length % alignment, 0);
    assert.equal(file.alignment, alignment);
    for (const [key, { type, value }] of everyType) {
      assert.deepEqual(file.metadata.get(key), value, key);
      assert.equal(file.types.get(key), type, key);
    }
    assert.deepEqual(inFileOrder(file).map(({ name }) => name), tensors.map(({ name }) => name));
    assert.deepEqual(order, tensors.map(({ name }) => name));
    for (const { name, dtype, shape, data } of tensors) {
      const info = file.tensors.get(name)!;
      assert.deepEqual([info.dtype, info.shape, info.offset % alignment], [dtype, shape, 0]);
      assert.deepEqual([...file.bytes(name)], [...data()]);
    }
  }
});

Deno.test("writeGguf() writes gguf-py's file again, equal in every key and tensor", () => {
  const { file, close } = goldenGguf("gguf/blocks.gguf");
  const metadata = [...file.metadata].map(([key, value]): [string, TypedValue] => [
    key,
    { type: file.types.get(key)!, value },
  ]);
  const tensors = [...file.tensors.values()].map((info) => ({ ...info, data: () => file.bytes(info.name) }));
  const again = open(concat(writeGguf(metadata, tensors)));
  assert.deepEqual([...again.metadata], [...file.metadata]);
  assert.deepEqual([...again.types], [...file.types]);
  assert.deepEqual([...again.tensors.keys()], [...file.tensors.keys()]);
  for (const name of file.tensors.keys()) assert.deepEqual(again.bytes(name), file.bytes(name));
  close();
});

Deno.test("writeGguf() refuses what no reader would take back", () => {
  const good = { name: "a", dtype: "F32", shape: [2], byteLength: 8, data: () => new Uint8Array(8) };
  const write = (metadata: [string, TypedValue][], ...tensors: LazyTensor[]) => () =>
    concat(writeGguf(metadata, tensors));
  assert.throws(write([], good, good), /occurs twice/);
  assert.throws(write([["k", { type: "uint8", value: 1 }], ["k", { type: "uint8", value: 1 }]]), /occurs twice/);
  assert.throws(write([], { ...good, byteLength: 7 }), /is not 7 bytes/);
  assert.throws(write([], { ...good, dtype: "Q8_0", shape: [2, 16], byteLength: 34 }), /whole blocks/);
  assert.throws(write([], { ...good, dtype: "Q9_9" }), /no type Q9_9/);
  assert.throws(write([], { ...good, name: "x".repeat(64) }), /longer than 63/);
  assert.throws(write([], { ...good, data: () => new Uint8Array(9) }), /gave 9 bytes/);
  for (
    const [type, value] of [
      ["uint8", 256],
      ["int8", -129],
      ["uint32", -1],
      ["int32", 0.5],
      ["uint64", -1n],
      ["uint64", 2 ** 53],
      ["float32", "1"],
      ["bool", 1],
      ["string", 1],
      ["int32[]", [1, 2 ** 31]],
    ] as [TypedValue["type"], TypedValue["value"]][]
  ) {
    assert.throws(write([["k", { type, value }]]), /metadata "k": .* is no /, `${type} ${value}`);
  }
});

Deno.test("openGguf() reads a large vocabulary through a few reads of the header alone", () => {
  const vocabulary = 151_936;
  const metadata: [string, TypedValue][] = [
    ["tokens", {
      type: "string[]",
      value: Array.from({ length: vocabulary }, (_, i) => i % 5 ? `Ġtoken${i}` : `日${i}`),
    }],
    ["merges", { type: "string[]", value: Array.from({ length: vocabulary }, (_, i) => `Ġto ken${i}`) }],
    ["types", { type: "int32[]", value: new Int32Array(vocabulary).fill(1) }],
  ];
  const dataBytes = 8 << 20;
  const bytes = concat(writeGguf(metadata, [
    { name: "w", dtype: "F32", shape: [dataBytes / 4], byteLength: dataBytes, data: () => new Uint8Array(dataBytes) },
  ]));
  const reads: [offset: number, length: number][] = [];
  const memory = bytesSource(bytes, "m.gguf");
  const source: ByteSource = {
    ...memory,
    read(offset, length) {
      reads.push([offset, length]);
      return memory.read(offset, length);
    },
  };
  const file = openGguf(source);
  assert.deepEqual(file.metadata.get("tokens"), metadata[0][1].value);
  assert.deepEqual(file.metadata.get("merges"), metadata[1][1].value);
  const headerBytes = bytes.length - dataBytes;
  assert.ok(reads.length <= headerBytes / 2 ** 20 + 4, `${reads.length} reads`);
  assert.ok(Math.max(...reads.map(([offset, length]) => offset + length)) < headerBytes + 2 ** 20 + 64);
});
