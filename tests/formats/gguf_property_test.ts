// Any GGUF file that the writer makes reads back as it was; any damage to one is read or refused, within its size in memory.
import assert from "node:assert/strict";
import fc from "fast-check";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { ggmlTypes } from "../../lib/formats/ggml_types.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import type { GgufValue, TypedValue } from "../../lib/formats/gguf_values.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { elementCount } from "../../lib/formats/tensor_file.ts";
import { decodableTypes, toFloat32 } from "../../lib/quant/decode.ts";
import { assertUserError, concat } from "../helpers/bytes.ts";

const names = (maxBytes: number) =>
  fc.string({ minLength: 1, maxLength: maxBytes, unit: "binary" }).filter((name) =>
    name.isWellFormed() && new TextEncoder().encode(name).length <= maxBytes
  );

const typed = (type: TypedValue["type"], value: fc.Arbitrary<GgufValue>): fc.Arbitrary<TypedValue> =>
  value.map((value) => ({ type, value }));

const values = fc.oneof(
  typed("uint8", fc.integer({ min: 0, max: 255 })),
  typed("int16", fc.integer({ min: -32768, max: 32767 })),
  typed("uint32", fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  typed("int64", fc.maxSafeInteger()),
  typed("float32", fc.float({ noNaN: true })),
  typed("float64", fc.double({ noNaN: true })),
  typed("bool", fc.boolean()),
  typed("string", fc.string({ unit: "binary", maxLength: 100 }).filter((text) => text.isWellFormed())),
  typed("string[]", fc.array(fc.string({ maxLength: 80 }), { maxLength: 30 })),
  typed("bool[]", fc.array(fc.boolean())),
  typed("uint8[]", fc.uint8Array()),
  typed("int32[]", fc.int32Array()),
  typed("float32[]", fc.float32Array()),
  typed("uint64[]", fc.bigUint64Array()),
);

const metadata = fc.uniqueArray(
  fc.tuple(names(40).filter((key) => key !== "general.alignment"), values),
  { selector: ([key]) => key, maxLength: 12 },
).chain((keys) =>
  fc.constantFrom(1, 8, 32, 64).map((alignment): [string, TypedValue][] => [
    ...keys,
    ["general.alignment", { type: "uint32", value: alignment }],
  ])
);

/** A tensor of any type that is read, of whole blocks, with random bytes. */
const tensors = fc.uniqueArray(
  fc.tuple(
    names(63),
    fc.constantFrom(...decodableTypes),
    fc.integer({ min: 0, max: 3 }),
    fc.integer({ min: 0, max: 3 }),
  )
    .chain(([name, dtype, rows, blocks]) => {
      const { block, bytes } = ggmlTypes[dtype], length = rows * blocks * bytes;
      return fc.uint8Array({ minLength: length, maxLength: length }).map((data) => {
        return { name, dtype, shape: [rows, blocks * block], byteLength: length, data: () => data };
      });
    }),
  { selector: ({ name }) => name, maxLength: 8 },
);

Deno.test("openGguf() gives back any metadata and any tensors that writeGguf() was given", () => {
  fc.assert(
    fc.property(metadata, tensors, (keys, list) => {
      const bytes = concat(writeGguf(keys, list)), file = openGguf(bytesSource(bytes, "m.gguf"));
      assert.deepEqual([...file.metadata], keys.map(([key, { value }]) => [key, value]));
      assert.deepEqual([...file.types], keys.map(([key, { type }]) => [key, type]));
      assert.deepEqual([...file.tensors.keys()], list.map(({ name }) => name));
      for (const { name, dtype, shape, data } of list) {
        assert.deepEqual(file.tensors.get(name)!.dtype, dtype);
        assert.deepEqual(file.tensors.get(name)!.shape, shape);
        assert.deepEqual(file.bytes(name), data());
      }
    }),
    { numRuns: 200 },
  );
});

/** A source that adds up what is read of it. */
function counted(bytes: Uint8Array) {
  const source = bytesSource(bytes, "m.gguf"), read = { total: 0 };
  return {
    read,
    source: {
      ...source,
      read: (offset: number, length: number) => (read.total += length, source.read(offset, length)),
    },
  };
}

/** Bytes of the typed arrays that metadata became. */
function arrayBytes(values: Iterable<GgufValue>): number {
  return [...values].reduce((sum: number, value) => sum + (ArrayBuffer.isView(value) ? value.byteLength : 0), 0);
}

const damage = fc.array(
  fc.tuple(fc.nat(1e9), fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255))),
  { minLength: 1, maxLength: 2 },
);

Deno.test("openGguf() of any damaged file reads or refuses, and holds no more than twice the file", () => {
  let refused = 0, opened = 0;
  fc.assert(
    fc.property(
      metadata,
      tensors,
      damage,
      fc.option(fc.nat(1e9), { freq: 1 }),
      (keys, list, hits, cut) => {
        const bytes = concat(writeGguf(keys, list));
        for (const [place, value] of hits) bytes[place % bytes.length] = value;
        const kept = bytes.subarray(0, cut === null ? bytes.length : cut % bytes.length);
        const { source, read } = counted(kept);
        try {
          const file = openGguf(source);
          assert.ok(arrayBytes(file.metadata.values()) <= kept.length);
          assert.ok(read.total <= 2 * kept.length, `${read.total} bytes read to open ${kept.length}`);
          for (const { name, dtype, shape } of file.tensors.values()) {
            if (decodableTypes.includes(dtype)) {
              toFloat32(file.bytes(name), {
                dtype,
                count: elementCount(shape),
                name,
              });
            }
          }
          opened++;
        } catch (error) {
          assertUserError(error);
          refused++;
        }
        assert.ok(read.total <= 3 * kept.length, `${read.total} bytes read of ${kept.length}`);
      },
    ),
    { numRuns: 1000 },
  );
  assert.ok(refused > 200 && opened > 50, `${refused} refused, ${opened} opened`);
});
