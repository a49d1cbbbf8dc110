/** Every class of malformed GGUF file is refused by a UserError of one line: nothing hangs, nothing large is allocated. */
import assert from "node:assert/strict";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { toFloat32 } from "../../lib/quant/decode.ts";
import { elementCount } from "../../lib/formats/tensor_file.ts";
import { assertRefused, assertUserError, concat, le, randomBits, utf8 } from "../helpers/bytes.ts";

const open = (bytes: Uint8Array) => openGguf(bytesSource(bytes, "m.gguf"));
const string = (text: string) => concat([le(utf8(text).length, 8), utf8(text)]);

interface Parts {
  magic?: Uint8Array;
  version?: Uint8Array;
  tensorCount?: number | bigint;
  keyCount?: number | bigint;
  /** Each a whole key with its value. */
  keys?: Uint8Array[];
  /** Each a whole description. */
  tensors?: Uint8Array[];
  data?: number;
}

/** A file of these parts; what is left out is right. */
function file(parts: Parts): Uint8Array<ArrayBuffer> {
  const { keys = [], tensors = [] } = parts;
  const header = concat([
    parts.magic ?? utf8("GGUF"),
    parts.version ?? le(3, 4),
    le(parts.tensorCount ?? tensors.length, 8),
    le(parts.keyCount ?? keys.length, 8),
    ...keys,
    ...tensors,
  ]);
  return concat([header, new Uint8Array((32 - header.length % 32) % 32), new Uint8Array(parts.data ?? 0)]);
}

const key = (name: string, type: number, ...value: Uint8Array[]) => concat([string(name), le(type, 4), ...value]);
const array = (name: string, type: number, count: number | bigint, ...values: Uint8Array[]) =>
  key(name, 9, le(type, 4), le(count, 8), ...values);
const tensor = (
  options: { name?: string; ne?: (number | bigint)[]; dimensions?: number; type?: number; offset?: number | bigint } =
    {},
) => {
  const { name = "w", ne = [8], type = 0, offset = 0 } = options;
  return concat([
    string(name),
    le(options.dimensions ?? ne.length, 4),
    ...ne.map((size) => le(size, 8)),
    le(type, 4),
    le(offset, 8),
  ]);
};
const alignment = (value: number, type = 4, size = 4) => key("general.alignment", type, le(value, size));

/** Tensor types, then value types. */
const Q4_0 = 2, I8 = 24;
const U32 = 4, STRING = 8;
const huge = 2n ** 64n - 1n;

const malformed: [what: string, bytes: Uint8Array, message: RegExp][] = [
  ["empty file", new Uint8Array(0), /needs 4 bytes at offset 0, file has 0 left/],
  ["3 bytes", utf8("GGU"), /needs 4 bytes at offset 0, file has 3 left/],
  ["magic alone", utf8("GGUF"), /needs 4 bytes at offset 4, file has 0 left/],
  ["bad magic", file({ magic: utf8("GGML") }), /starts with 0x4c4d4747/],
  ["a zip file", concat([utf8("PK\x03\x04"), new Uint8Array(60)]), /it is a zip archive/],
  ["version 0", file({ version: le(0, 4) }), /version 0 at offset 4/],
  ["version 1", file({ version: le(1, 4) }), /version 1 at offset 4/],
  ["version of the future", file({ version: le(4, 4) }), /version 4 at offset 4/],
  ["big-endian", file({ version: new Uint8Array([0, 0, 0, 3]) }), /big-endian GGUF file \(version 3\)/],
  ["2^64-1 tensors", file({ tensorCount: huge }), /18446744073709551615 tensors announced at offset 8/],
  ["2^64-1 keys", file({ keyCount: huge }), /18446744073709551615 metadata keys announced at offset 16/],
  ["2^63 tensors", file({ tensorCount: 2n ** 63n }), /9223372036854775808 tensors/],
  ["more tensors than fit", file({ tensorCount: 10, data: 32 }), /10 tensors .* need 250 bytes, file has 48 left/],
  [
    "more keys than there are",
    file({ keyCount: 2, keys: [key("a", 0, le(1, 1))], data: 64 }),
    /metadata key 1 .* is empty/,
  ],
  [
    "key length 2^64-1",
    file({ keys: [concat([le(huge, 8), new Uint8Array(30)])] }),
    /metadata key 0 needs 1844\d+ bytes/,
  ],
  [
    "key length past the end",
    file({ keys: [concat([le(1000, 8), new Uint8Array(30)])] }),
    /metadata key 0 needs 1000 bytes/,
  ],
  ["key over 65535 bytes", file({ keys: [key("k".repeat(65536), 0, le(1, 1))] }), /has 65536 bytes, at most 65535/],
  ["empty key", file({ keys: [key("", 0, le(1, 1)), key("b", 0, le(1, 1))] }), /metadata key 0 at offset 24 is empty/],
  [
    "key not UTF-8",
    file({ keys: [concat([le(2, 8), new Uint8Array([0xff, 0xfe]), le(0, 4), le(0, 4)])] }),
    /not UTF-8/,
  ],
  [
    "key cut inside a character",
    file({ keys: [concat([le(1, 8), utf8("é").subarray(0, 1), le(0, 4), le(0, 4)])] }),
    /not UTF-8/,
  ],
  ["key twice", file({ keys: [key("a", 0, le(1, 1)), key("a", 0, le(1, 1))] }), /"a" occurs twice, again at offset 38/],
  ["unknown value type", file({ keys: [key("a", 13, le(1, 8))] }), /"a" has unknown value type 13 at offset 33/],
  ["value type -1", file({ keys: [key("a", -1, le(1, 8))] }), /unknown value type 4294967295/],
  ["string value past the end", file({ keys: [key("a", STRING, le(1e6, 8))] }), /value of "a" needs 1000000 bytes/],
  [
    "string value not UTF-8",
    file({ keys: [key("a", STRING, le(1, 8), new Uint8Array([0x80]))] }),
    /value of "a" .* not UTF-8/,
  ],
  ["array of 2^64-1", file({ keys: [array("a", U32, huge)] }), /18446744073709551615 elements of "a"/],
  [
    "array of 2^62 u32, whose bytes overflow",
    file({ keys: [array("a", U32, 2n ** 62n)] }),
    /4611686018427387904 elements of "a"/,
  ],
  ["array of 2^61 strings", file({ keys: [array("a", STRING, 2n ** 61n)] }), /elements of "a" announced/],
  ["array longer than the file", file({ keys: [array("a", 0, 100)] }), /100 elements of "a" .* need 100 bytes/],
  [
    "strings longer than the file",
    file({ keys: [array("a", STRING, 1, le(500, 8))] }),
    /elements of "a" needs 500 bytes/,
  ],
  ["nested arrays", file({ keys: [array("a", 9, 1, le(4, 4), le(1, 8), le(7, 4))] }), /"a" .* array of arrays/],
  ["array of unknown type", file({ keys: [array("a", 99, 1, le(7, 8))] }), /"a" has unknown value type 99/],
  ["alignment 0", file({ keys: [alignment(0)] }), /general.alignment is 0, wanted a power of two/],
  ["alignment 12", file({ keys: [alignment(12)] }), /general.alignment is 12, wanted a power of two/],
  [
    "alignment 2^30",
    file({ keys: [alignment(2 ** 30)] }),
    /general.alignment is 1073741824, wanted a power of two up to/,
  ],
  ["alignment 2^31", file({ keys: [alignment(2 ** 31)] }), /general.alignment is 2147483648, wanted/],
  [
    "alignment of another type",
    file({ keys: [alignment(32, 10, 8)] }),
    /general.alignment .* type uint32, it has uint64/,
  ],
  ["alignment a string", file({ keys: [key("general.alignment", STRING, string("32"))] }), /it has string/],
  [
    "tensor name of 64 bytes",
    file({ tensors: [tensor({ name: "n".repeat(64) })], data: 32 }),
    /has 64 bytes, at most 63/,
  ],
  ["tensor name empty", file({ tensors: [tensor({ name: "" })], data: 32 }), /name is empty/],
  [
    "tensor name past the end",
    file({ tensors: [concat([le(2 ** 40, 8), new Uint8Array(30)])] }),
    /name of tensor 0 needs 1099511627776/,
  ],
  ["tensor name twice", file({ tensors: [tensor(), tensor({ offset: 32 })], data: 64 }), /tensor "w" occurs twice/],
  [
    "tensor name with control characters",
    file({ tensors: [tensor({ name: "a\n\x1b[2J" })] }),
    /tensor "a\\n\\u001b\[2J"/,
  ],
  ["5 dimensions", file({ tensors: [tensor({ ne: [8, 1, 1, 1, 1] })], data: 32 }), /5 dimensions, at most 4/],
  ["2^32-1 dimensions", file({ tensors: [tensor({ dimensions: 2 ** 32 - 1 })], data: 32 }), /4294967295 dimensions/],
  [
    "negative size",
    file({ tensors: [tensor({ ne: [-1] })], data: 32 }),
    /shape \[18446744073709551615\] is impossibly large/,
  ],
  [
    "sizes whose product overflows 64 bits to 0",
    file({ tensors: [tensor({ ne: [2 ** 32, 2 ** 32] })], data: 32 }),
    /impossibly large/,
  ],
  [
    "sizes whose bytes overflow 64 bits",
    file({ tensors: [tensor({ ne: [2n ** 52n, 1] })], data: 32 }),
    /needs 18014398509481984 bytes|lie outside the file/,
  ],
  ["bytes past 2^53", file({ tensors: [tensor({ ne: [2n ** 53n - 1n] })], data: 32 }), /lie outside the file/],
  ["negative size times zero", file({ tensors: [tensor({ ne: [0, -1] })], data: 32 }), /impossibly large/],
  ["unknown tensor type", file({ tensors: [tensor({ type: 77 })], data: 32 }), /tensor "w" .* unknown type 77/],
  ["removed tensor type", file({ tensors: [tensor({ type: 4 })], data: 32 }), /unknown type 4/],
  ["negative tensor type", file({ tensors: [tensor({ type: -1 })], data: 32 }), /unknown type 4294967295/],
  [
    "rows of half a block",
    file({ tensors: [tensor({ type: Q4_0, ne: [16, 2] })], data: 32 }),
    /rows of 16 elements are not whole Q4_0 blocks/,
  ],
  ["a quantised scalar", file({ tensors: [tensor({ type: Q4_0, ne: [] })], data: 32 }), /rows of 1 elements/],
  [
    "unaligned offset",
    file({ tensors: [tensor({ offset: 4 })], data: 64 }),
    /"w" at data offset 4 is not aligned to 32/,
  ],
  [
    "offset past the end",
    file({ tensors: [tensor({ offset: 64 })], data: 64 }),
    /"w" needs 32 bytes at offset \d+, file has 0 left/,
  ],
  ["offset 2^64-32", file({ tensors: [tensor({ offset: 2n ** 64n - 32n })], data: 64 }), /lie outside the file/],
  ["offset 2^53", file({ tensors: [tensor({ offset: 2n ** 53n })], data: 64 }), /lie outside the file/],
  ["data missing", file({ tensors: [tensor()] }), /"w" needs 32 bytes at offset 64, file has 0 left of 64/],
  [
    "data cut short",
    file({ tensors: [tensor()], data: 31 }),
    /"w" needs 32 bytes at offset 64, file has 31 left of 95/,
  ],
  [
    "overlap",
    file({ tensors: [tensor({ ne: [16] }), tensor({ name: "x", offset: 32 })], data: 64 }),
    /"x" .* overlaps tensor "w"/,
  ],
  [
    "overlap of one byte",
    file({ tensors: [tensor({ type: I8, ne: [33] }), tensor({ name: "x", offset: 32 })], data: 64 }),
    /"x" .* overlaps tensor "w"/,
  ],
  ["same data twice", file({ tensors: [tensor(), tensor({ name: "x" })], data: 64 }), /"x" .* overlaps tensor "w"/],
];

Deno.test("openGguf() refuses every malformed file with one line and a hint", async (test) => {
  for (const [what, bytes, message] of malformed) {
    await test.step(what, () => assertRefused(() => open(bytes), message, what));
  }
});

Deno.test("openGguf() accepts the parts that the malformed files are made of", () => {
  const good = open(file({
    keys: [key("a", U32, le(1, 4)), array("b", STRING, 1, string("x")), alignment(32)],
    tensors: [tensor(), tensor({ name: "x", type: Q4_0, ne: [32, 1], offset: 32 })],
    data: 64,
  }));
  assert.deepEqual([...good.tensors.keys()], ["w", "x"]);
  assert.equal(good.tensors.get("w")!.dtype, "F32");
});

/** A small file of everything, for damaging. */
function sample(): Uint8Array<ArrayBuffer> {
  return concat(writeGguf([
    ["general.architecture", { type: "string", value: "llama" }],
    ["general.alignment", { type: "uint32", value: 32 }],
    ["tokens", { type: "string[]", value: ["a", "bé", "c".repeat(70)] }],
    ["scores", { type: "float32[]", value: new Float32Array([1, 2, 3]) }],
  ], [
    { name: "w", dtype: "F32", shape: [3, 5], byteLength: 60, data: () => new Uint8Array(60) },
    { name: "x", dtype: "Q4_1", shape: [2, 32], byteLength: 40, data: () => new Uint8Array(40) },
  ]));
}

Deno.test("openGguf() refuses every truncation of a file", () => {
  const whole = sample(), last = open(whole).tensors.get("x")!;
  for (let length = 0; length < last.offset + last.byteLength; length++) {
    assertRefused(() => open(whole.subarray(0, length)), /m\.gguf/, `${length} bytes`);
  }
});

Deno.test("openGguf() of 4,000 damaged files either reads or refuses", () => {
  const whole = sample(), headerBytes = open(whole).tensors.get("w")!.offset;
  const random = randomBits(2024), interesting = [0, 1, 0x7f, 0x80, 0xff];
  let refused = 0;
  for (let round = 0; round < 4000; round++) {
    const damaged = whole.slice();
    for (let hits = 1 + random() % 3; hits > 0; hits--) {
      const value = random() % 2 ? interesting[random() % interesting.length] : random() & 255;
      damaged.fill(value, random() % headerBytes, random() % headerBytes + random() % 2);
      damaged[random() % headerBytes] = value;
    }
    try {
      const file = open(damaged);
      for (const { name, dtype, shape } of file.tensors.values()) {
        toFloat32(file.bytes(name), { dtype, count: elementCount(shape), name });
      }
    } catch (error) {
      assertUserError(error, `round ${round}`);
      refused++;
    }
  }
  assert.ok(refused > 1000 && refused < 4000, `${refused} refused`);
});
