// bitsandbytes' own checkpoints of every kind: tests/golden/bnb4/make_bnb4.py made them.
import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../lib/errors.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { bnb4Weights, dequantizeBnb4, isOwnNf4, ownNf4 } from "../../lib/quant/bnb4.ts";
import { quantizeAbsmax, recoverAbsmax, signedMap } from "../../lib/quant/double_quant.ts";
import { dequantizeNf4, nf4Codebook, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { concat } from "../helpers/bytes.ts";
import { differences, goldenSafetensors } from "../helpers/golden.ts";

Deno.test("dequantizeBnb4() gives bitsandbytes' values bit for bit, NF4 and FP4, every block and dtype", () => {
  const { file, close } = goldenSafetensors("bnb4/checkpoint.safetensors");
  const expected = goldenSafetensors("bnb4/expected.safetensors"), weights = bnb4Weights(file);
  assert.deepEqual([...weights.keys()].sort(), [...expected.file.tensors.keys()].sort());
  for (const weight of weights.values()) {
    assert.equal(differences(dequantizeBnb4(file, weight), expected.f32(weight.name)), 0, weight.name);
  }
  const own = [...weights.values()].filter((weight) => isOwnNf4(file, weight)).map(({ name }) => name).sort();
  assert.deepEqual(own, [
    "nf4.64.double.bfloat16.weight",
    "nf4.64.double.float32.bfloat16.weight",
    "nf4.64.single.float16.weight",
  ]);
  const { packed, absmax } = ownNf4(file, weights.get("nf4.64.double.float32.bfloat16.weight")!);
  assert.ok(!(absmax instanceof Float32Array));
  const values = dequantizeNf4(packed, recoverAbsmax(absmax), 24 * 76);
  assert.equal(differences(values, expected.f32("nf4.64.double.float32.bfloat16.weight")), 0);
  close();
  expected.close();
});

Deno.test("dequantizeBnb4() gives bitsandbytes' values for whole checkpoints", () => {
  const { file, close } = goldenSafetensors("tiny/llama3_bnb4/model.safetensors");
  const expected = goldenSafetensors("tiny/llama3_bnb4/expected.safetensors"), weights = bnb4Weights(file);
  assert.equal(weights.size, 14);
  const names = [...expected.file.tensors.keys()].filter((name) => name.startsWith("dequantised/"));
  assert.equal(names.length, 2);
  for (const name of names) {
    const weight = weights.get(name.slice("dequantised/".length))!;
    assert.equal(differences(dequantizeBnb4(file, weight), expected.f32(name)), 0, name);
  }
  close();
  expected.close();
});

interface Made {
  shape: number[];
  block: number;
  nested: number | null;
  dtype: string;
  seed: number;
}

/** A checkpoint of one weight "w" in memory, with its parts by name. */
function makeParts({ shape, block, nested, dtype, seed }: Made): Map<string, { dtype: string; bytes: Uint8Array }> {
  const count = shape.reduce((a, b) => a * b, 1), blocks = Math.ceil(count / block);
  const number = (i: number) => Math.sin(seed + i) * 0.5 + 0.6;
  const f32 = (n: number) => new Uint8Array(Float32Array.from({ length: n }, (_, i) => number(i)).buffer);
  const state = {
    ...{ quant_type: "nf4", blocksize: block, dtype, shape },
    ...nested === null ? {} : { nested_blocksize: nested, nested_dtype: "float32", nested_offset: number(3) },
  };
  const floats = (data: Float32Array) => ({ dtype: "F32", bytes: new Uint8Array(data.slice().buffer) });
  const bytes = (n: number) => ({ dtype: "U8", bytes: Uint8Array.from({ length: n }, (_, i) => 255 * number(i)) });
  return new Map([
    ["w", bytes(Math.ceil(count / 2))],
    ["w.quant_map", floats(nf4Codebook)],
    ["w.quant_state.bitsandbytes__nf4", { dtype: "U8", bytes: new TextEncoder().encode(JSON.stringify(state)) }],
    ["w.absmax", nested === null ? { dtype: "F32", bytes: f32(blocks) } : bytes(blocks)],
    ...nested === null ? [] : [
      ["w.nested_absmax", { dtype: "F32", bytes: f32(Math.ceil(blocks / nested)) }] as const,
      ["w.nested_quant_map", floats(signedMap)] as const,
    ],
  ]);
}

function fileOf(parts: ReturnType<typeof makeParts>): Uint8Array<ArrayBuffer> {
  const sizes: Record<string, number> = { F32: 4, BF16: 2, U8: 1 };
  const tensors = Array.from(parts, ([name, { dtype, bytes }]) => {
    return { name, dtype, shape: [bytes.length / sizes[dtype]], byteLength: bytes.length, data: () => bytes };
  });
  return concat(writeSafetensors(tensors));
}

/** Everything that a reader of the file does. */
function readAll(bytes: Uint8Array): void {
  const file = openSafetensors(bytesSource(bytes, "checkpoint"));
  for (const weight of bnb4Weights(file).values()) {
    if (isOwnNf4(file, weight)) ownNf4(file, weight);
    dequantizeBnb4(file, weight);
  }
}

const made: fc.Arbitrary<Made> = fc.record({
  shape: fc.array(fc.integer({ min: 0, max: 33 }), { minLength: 1, maxLength: 3 }),
  block: fc.constantFrom(16, 64, 128, 4096),
  nested: fc.constantFrom(null, 16, 256),
  dtype: fc.constantFrom("float32", "float16", "bfloat16"),
  seed: fc.integer({ min: 0, max: 1000 }),
});

Deno.test("bnb4Weights() reads every valid checkpoint", () => {
  fc.assert(fc.property(made, (made) => {
    const parts = makeParts(made), file = openSafetensors(bytesSource(fileOf(parts), "checkpoint"));
    const weight = bnb4Weights(file).get("w")!, count = made.shape.reduce((a, b) => a * b, 1);
    assert.deepEqual([weight.shape, weight.block, weight.dtype], [made.shape, made.block, made.dtype]);
    const values = dequantizeBnb4(file, weight);
    assert.equal(values.length, count);
    assert.ok(values.every(Number.isFinite));
    assert.equal(isOwnNf4(file, weight), made.block === 64);
    if (made.block !== 64) return;
    const own = ownNf4(file, weight);
    assert.equal(own.absmax instanceof Float32Array, made.nested !== 256);
    const absmax = own.absmax instanceof Float32Array ? own.absmax : recoverAbsmax(own.absmax);
    if (made.dtype === "float32") assert.deepEqual(dequantizeNf4(own.packed, absmax, count), values);
  }));
});

Deno.test("bnb4Weights() gives back what quantizeNf4() made", () => {
  fc.assert(fc.property(fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 700 }), (x) => {
    const { packed, absmax } = quantizeNf4(x), double = quantizeAbsmax(absmax);
    if (!Number.isFinite(double.offset) || double.nestedAbsmax.some((x) => !Number.isFinite(x))) return;
    const parts = makeParts({ shape: [x.length], block: 64, nested: 256, dtype: "float32", seed: 1 });
    const put = (name: string, data: Uint8Array | Float32Array) => {
      parts.get(name)!.bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    };
    put("w", packed);
    put("w.absmax", double.codes);
    put("w.nested_absmax", double.nestedAbsmax);
    const state = parts.get("w.quant_state.bitsandbytes__nf4")!;
    const json = { ...JSON.parse(new TextDecoder().decode(state.bytes)), nested_offset: double.offset };
    state.bytes = new TextEncoder().encode(JSON.stringify(json));
    const file = openSafetensors(bytesSource(fileOf(parts), "checkpoint"));
    assert.deepEqual(ownNf4(file, bnb4Weights(file).get("w")!), { packed, absmax: double });
  }));
});

Deno.test("bnb4Weights() answers damage with a UserError", () => {
  const damage = fc.array(
    fc.tuple(fc.double({ min: 0, max: 0.9999999, noNaN: true }), fc.integer({ max: 255, min: 0 })),
    {
      minLength: 1,
      maxLength: 4,
    },
  );
  const part = fc.constantFrom("flip", "drop", "cut", "state");
  fc.assert(
    fc.property(made, damage, part, fc.json({ maxDepth: 2 }), (made, places, kind, json) => {
      const parts = makeParts(made), names = [...parts.keys()], name = names[Math.floor(places[0][0] * names.length)];
      if (kind === "drop") parts.delete(name);
      if (kind === "cut") {
        parts.set(name, { dtype: "U8", bytes: parts.get(name)!.bytes.subarray(0, places[0][1]) });
      }
      if (kind === "state") {
        const value = { ...makeState(parts), [places[0][1] % 2 ? "shape" : "blocksize"]: JSON.parse(json) };
        parts.set("w.quant_state.bitsandbytes__nf4", {
          dtype: "U8",
          bytes: new TextEncoder().encode(JSON.stringify(value)),
        });
      }
      const bytes = fileOf(parts);
      if (kind === "flip") { for (const [at, value] of places) bytes[Math.floor(at * bytes.length)] = value; }
      try {
        readAll(bytes);
      } catch (error) {
        assert.ok(error instanceof UserError, String((error as Error).stack));
        assert.ok(!error.message.includes("\n"), error.message);
      }
    }),
    { numRuns: 400 },
  );
});

function makeState(parts: ReturnType<typeof makeParts>): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(parts.get("w.quant_state.bitsandbytes__nf4")!.bytes));
}

/** What is wrong, and what the message must say. */
const refused: [string, (parts: ReturnType<typeof makeParts>) => void, RegExp][] = [
  ["no maxima", (parts) => parts.delete("w.absmax"), /4-bit weight "w" in checkpoint: tensor "w.absmax" is missing/],
  ["no state", (parts) => parts.delete("w.quant_state.bitsandbytes__nf4"), /of a 4-bit weight without a quant_state/],
  ["codes cut short", (parts) => parts.set("w", { dtype: "U8", bytes: new Uint8Array(7) }), /"w" has 7 bytes, 2048 el/],
  ["block", (parts) => setState(parts, { blocksize: 63 }), /its blocksize is 63, expected a power of 2/],
  ["dtype", (parts) => setState(parts, { dtype: "int8" }), /its dtype is "int8", expected float32/],
  ["type", (parts) => setState(parts, { quant_type: "fp4" }), /its quant_type is "fp4", expected NF4/],
  ["shape", (parts) => setState(parts, { shape: [1e9, 1e9] }), /its shape is \[1000000000,1000000000\]/],
  ["offset", (parts) => setState(parts, { nested_offset: null }), /its nested_offset is null/],
  [
    "a maximum",
    (parts) => parts.get("w.nested_absmax")!.bytes.set([0, 0, 0xc0, 0x7f]),
    /weight "w" in checkpoint has a maximum of NaN/,
  ],
];

function setState(parts: ReturnType<typeof makeParts>, change: Record<string, unknown>): void {
  parts.get("w.quant_state.bitsandbytes__nf4")!.bytes = new TextEncoder().encode(
    JSON.stringify({ ...makeState(parts), ...change }),
  );
}

Deno.test("bnb4Weights() says what is wrong with a weight", () => {
  for (const [what, change, message] of refused) {
    const parts = makeParts({ shape: [32, 64], block: 64, nested: 256, dtype: "bfloat16", seed: 2 });
    change(parts);
    assert.throws(
      () => readAll(fileOf(parts)),
      (error) => error instanceof UserError && message.test(error.message),
      what,
    );
  }
});
