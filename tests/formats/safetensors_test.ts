import assert from "node:assert/strict";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { type LazyTensor, openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { inFileOrder } from "../../lib/formats/tensor_file.ts";
import { assertRefused, concat, le, utf8 } from "../helpers/bytes.ts";
import { goldenSafetensors } from "../helpers/golden.ts";

/** A file of this header text, `dataBytes` bytes 0, 1, 2... after it. */
function file(header: string | Uint8Array, dataBytes = 0): Uint8Array<ArrayBuffer> {
  const json = typeof header === "string" ? utf8(header) : header;
  return concat([le(json.length, 8), json, Uint8Array.from({ length: dataBytes }, (_, i) => i)]);
}

const open = (bytes: Uint8Array) => openSafetensors(bytesSource(bytes, "m.safetensors"));

Deno.test("openSafetensors() reads a hand-written file", () => {
  const header = '{"__metadata__":{"format":"pt"},' +
    '"b":{"dtype":"U8","shape":[2,3],"data_offsets":[4,10]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  ';
  const opened = open(file(header, 10));
  assert.deepEqual(opened.metadata, { format: "pt" });
  assert.deepEqual([...opened.tensors.keys()], ["b", "a"]);
  assert.deepEqual(inFileOrder(opened).map(({ name }) => name), ["a", "b"]);
  const start = 8 + header.length;
  assert.deepEqual(opened.tensors.get("b"), {
    name: "b",
    dtype: "U8",
    shape: [2, 3],
    offset: start + 4,
    byteLength: 6,
  });
  assert.deepEqual([...opened.bytes("b")], [4, 5, 6, 7, 8, 9]);
  assert.deepEqual([...opened.bytes("a")], [0, 1, 2, 3]);
});

Deno.test("openSafetensors() reads what the safetensors library wrote", () => {
  const golden = goldenSafetensors("tiny/llama3/model.safetensors");
  const embedding = golden.file.tensors.get("model.embed_tokens.weight")!;
  assert.equal(embedding.dtype, "BF16");
  assert.deepEqual(embedding.shape, [512, 128]);
  assert.equal(golden.bytes("model.embed_tokens.weight").length, 512 * 128 * 2);
  golden.close();
});

Deno.test("openSafetensors() accepts an empty file of tensors, empty tensors, and names JavaScript treats specially", () => {
  assert.equal(open(file("{}")).tensors.size, 0);
  const entry = '{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}';
  const opened = open(file(`{"__proto__":${entry},"constructor":${entry},"":${entry}}`));
  assert.deepEqual([...opened.tensors.keys()], ["__proto__", "constructor", ""]);
  assert.equal(opened.bytes("__proto__").length, 0);
});

Deno.test("bytes() of an unknown tensor names the nearest one", () => {
  const opened = open(file('{"model.norm.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1));
  assertRefused(() => opened.bytes("model.norm.weigth"), /Cannot find tensor "model.norm.weigth" in m.safetensors/);
  assert.throws(() => opened.bytes("model.norm.weigth"), { hint: 'The nearest name is "model.norm.weight".' });
});

const t = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":${JSON.stringify(dtype)},"shape":${shape},"data_offsets":${offsets}}`;

const malformed: [what: string, bytes: Uint8Array, message: RegExp][] = [
  ["empty file", new Uint8Array(0), /0 bytes are too few/],
  ["7 bytes", new Uint8Array(7), /7 bytes are too few/],
  ["header longer than the file", concat([le(100, 8), utf8("{}")]), /header of 100 bytes .* file has 2 after it/],
  ["header length 2^64-1", concat([le(2n ** 64n - 1n, 8), utf8("{}")]), /header of 18446744073709551615 bytes/],
  ["header length 2^63", concat([le(2n ** 63n, 8), utf8("{}")]), /header of 9223372036854775808 bytes/],
  ["empty header", file(""), /must start with "\{" at offset 8/],
  ["not starting with a brace", file(" {}"), /must start with "\{"/],
  ["a pickle", concat([new Uint8Array([0x80, 2, 0, 0, 0, 0, 0, 0]), utf8("ctorch")]), /file has 6 after it|must start/],
  ["not UTF-8", file(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d])), /not UTF-8/],
  ["not JSON", file('{"a":1,}'), /not JSON at byte offset 15/],
  ["JSON cut short", file('{"a":{"dtype":"F32"'), /not JSON at byte offset 27/],
  ["JSON error after wide characters", file('{"é🙂":}'), /not JSON at byte offset 18/],
  ["padded with NUL", file("{}\0\0"), /not JSON at byte offset 10/],
  ["an array inside", file('{"a":[1,2]}'), /tensor "a" .* no dtype/],
  ["null entry", file('{"a":null}'), /tensor "a" .* no dtype/],
  ["number entry", file('{"a":7}'), /tensor "a" .* no dtype/],
  ["metadata not strings", file('{"__metadata__":{"n":1}}'), /__metadata__ must map strings to strings/],
  ["metadata a list", file('{"__metadata__":["n"]}'), /__metadata__ must map/],
  ["unknown dtype", file(`{"a":${t("Q9", "[1]", "[0,1]")}}`, 1), /unknown dtype "Q9"/],
  ["dtype of Object.prototype", file(`{"a":${t("toString", "[1]", "[0,1]")}}`, 1), /unknown dtype "toString"/],
  ["dtype missing", file('{"a":{"shape":[1],"data_offsets":[0,1]}}', 1), /no dtype/],
  ["shape missing", file('{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1), /shape is not a list/],
  ["offsets missing", file('{"a":{"dtype":"U8","shape":[1]}}', 1), /data_offsets are not two/],
  ["three offsets", file(`{"a":${t("U8", "[1]", "[0,1,2]")}}`, 1), /data_offsets are not two/],
  ["negative size", file(`{"a":${t("U8", "[-1]", "[0,1]")}}`, 1), /shape is not a list of whole numbers/],
  ["fractional size", file(`{"a":${t("U8", "[1.5]", "[0,1]")}}`, 1), /shape is not a list of whole numbers/],
  ["size as a string", file(`{"a":${t("U8", '["1"]', "[0,1]")}}`, 1), /shape is not a list of whole numbers/],
  ["size over 2^53", file(`{"a":${t("U8", "[9007199254740993]", "[0,1]")}}`, 1), /shape is not a list/],
  ["offset over 2^64", file(`{"a":${t("U8", "[1]", "[0,1e30]")}}`, 1), /data_offsets are not two/],
  [
    "product overflow",
    file(`{"a":${t("F32", "[4294967296,4294967296]", "[0,4]")}}`, 4),
    /takes 73786976294838210000 bytes/,
  ],
  [
    "product overflow times zero",
    file(`{"a":${t("F32", `[${Array(8).fill(2 ** 53 - 1)},0]`, "[0,0]")}}`),
    /9 dimensions/,
  ],
  ["thousand dimensions", file(`{"a":${t("F32", `[${Array(1000).fill(1)}]`, "[0,4]")}}`, 4), /1000 dimensions/],
  ["shape larger than its data", file(`{"a":${t("F32", "[2]", "[0,4]")}}`, 4), /\[2\] of F32 takes 8 bytes, .* give 4/],
  [
    "shape smaller than its data",
    file(`{"a":${t("F16", "[1]", "[0,4]")}}`, 4),
    /\[1\] of F16 takes 2 bytes, .* give 4/,
  ],
  ["offsets reversed", file(`{"a":${t("U8", "[1]", "[1,0]")}}`, 1), /\[1, 0\] lie outside/],
  ["data past the end", file(`{"a":${t("U8", "[9]", "[0,9]")}}`, 8), /\[0, 9\] lie outside the 8 bytes/],
  ["data left over", file(`{"a":${t("U8", "[4]", "[0,4]")}}`, 5), /tensors end at offset \d+, the file at \d+/],
  ["hole", file(`{"a":${t("U8", "[1]", "[0,1]")},"b":${t("U8", "[1]", "[2,3]")}}`, 3), /"b" .* leaves 1 bytes unused/],
  ["hole in front", file(`{"a":${t("U8", "[1]", "[1,2]")}}`, 2), /"a" .* leaves 1 bytes unused after the header/],
  ["overlap", file(`{"a":${t("U8", "[2]", "[0,2]")},"b":${t("U8", "[2]", "[1,3]")}}`, 3), /"b" .* overlaps tensor "a"/],
  ["same bytes twice", file(`{"a":${t("U8", "[2]", "[0,2]")},"b":${t("U8", "[2]", "[0,2]")}}`, 2), /overlaps/],
  [
    "duplicate name",
    file(`{"a":${t("U8", "[1]", "[0,1]")},"a":${t("U8", "[1]", "[0,1]")}}`, 1),
    /"a" twice, again at byte offset 61/,
  ],
  [
    "duplicate name, escaped",
    file(`{"a":${t("U8", "[1]", "[0,1]")},"\\u0061":${t("U8", "[1]", "[0,1]")}}`, 1),
    /"a" twice/,
  ],
  [
    "duplicate field",
    file('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    /"dtype" twice/,
  ],
  ["line breaks in a name", file(`{"a\\nb\\u001b[31m":${t("U8", "[1]", "[0,9]")}}`, 1), /tensor "a\\nb\\u001b\[31m"/],
  ["an endless name", file(`{"${"n".repeat(100000)}":${t("U8", "[1]", "[0,9]")}}`, 1), /tensor "n{80}\.\.\."/],
];

Deno.test("openSafetensors() refuses every malformed file with one line and a hint", async (test) => {
  for (const [what, bytes, message] of malformed) {
    await test.step(what, () => assertRefused(() => open(bytes), message, what));
  }
});

Deno.test("openSafetensors() refuses a header over the format's limit before reading it", () => {
  const size = 10 ** 12;
  let largest = 0;
  const source = {
    name: "huge.safetensors",
    size,
    read(_offset: number, length: number) {
      largest = Math.max(largest, length);
      return concat([le(10 ** 11, 8), new Uint8Array(Math.min(length, 64) - 8)]);
    },
    close() {},
  };
  assertRefused(() => openSafetensors(source), /header of 100000000000 bytes .*limit 100000000/);
  assert.ok(largest <= 4096, `${largest}`);
});

Deno.test("openSafetensors() refuses every truncation of a file", () => {
  const whole = file(`{"a":${t("U8", "[4]", "[0,4]")},"b":${t("F16", "[2,1]", "[4,8]")}}`, 8);
  open(whole);
  for (let length = 0; length < whole.length; length++) {
    assertRefused(() => open(whole.subarray(0, length)), /m\.safetensors/, `${length} bytes`);
  }
});

Deno.test("writeSafetensors() gives back what it was given, one tensor at a time", () => {
  const order: string[] = [];
  const tensor = (name: string, dtype: string, shape: number[], data: Uint8Array): LazyTensor => ({
    name,
    dtype,
    shape,
    byteLength: data.length,
    data: () => (order.push(name), data),
  });
  const tensors = [
    tensor("z.first", "F32", [1, 3], new Uint8Array(new Float32Array([1, 2, 3]).buffer)),
    tensor("__proto__", "U8", [5], new Uint8Array([9, 8, 7, 6, 5])),
    tensor("7", "BF16", [], new Uint8Array([1, 2])),
    tensor("empty", "I64", [0, 4], new Uint8Array(0)),
  ];
  const chunks: Uint8Array[] = [];
  for (const chunk of writeSafetensors(tensors, { format: "pt", "naïve": "é" })) {
    assert.equal(order.length, Math.max(0, chunks.length), "data() runs when its turn comes");
    chunks.push(chunk);
  }
  const bytes = concat(chunks);
  assert.equal(new DataView(bytes.buffer).getUint32(0, true) % 8, 0);
  const opened = open(bytes);
  assert.deepEqual(opened.metadata, { format: "pt", "naïve": "é" });
  assert.deepEqual(inFileOrder(opened).map(({ name }) => name).sort(), tensors.map(({ name }) => name).sort());
  for (const { name, dtype, shape, data } of tensors) {
    const info = opened.tensors.get(name)!;
    assert.deepEqual([info.dtype, info.shape], [dtype, shape]);
    assert.deepEqual([...opened.bytes(name)], [...data()]);
  }
});

Deno.test("writeSafetensors() refuses sizes that contradict the shape, repeated names, and data that breaks its word", () => {
  const good = { name: "a", dtype: "F32", shape: [2], byteLength: 8, data: () => new Uint8Array(8) };
  assert.throws(() => concat(writeSafetensors([{ ...good, byteLength: 7 }])), /is not 7 bytes/);
  assert.throws(() => concat(writeSafetensors([{ ...good, dtype: "F31" }])), /F31/);
  assert.throws(() => concat(writeSafetensors([good, good])), /duplicate/);
  assert.throws(() => concat(writeSafetensors([{ ...good, data: () => new Uint8Array(4) }])), /gave 4 bytes/);
});
