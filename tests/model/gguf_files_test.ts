// GGUF models in parts: written as gguf-split cuts them, read from the first part, refused when parts do not belong together.
import assert from "node:assert/strict";
import fc from "fast-check";
import { exportGguf } from "../../lib/export/gguf.ts";
import { writeAtomic } from "../../lib/files/atomic.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { openGguf } from "../../lib/formats/gguf.ts";
import { parsePartPath, partPath } from "../../lib/formats/gguf_parts.ts";
import type { TypedValue } from "../../lib/formats/gguf_values.ts";
import { writeGguf } from "../../lib/formats/gguf_write.ts";
import { openGgufFiles } from "../../lib/model/gguf_files.ts";
import { openModel } from "../../lib/model/source.ts";
import { assertRefused, assertUserError } from "../helpers/bytes.ts";
import { llamaCpp, llamaCppMissing } from "../helpers/llama_cpp.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";
import { makeTinyFolder } from "../helpers/tiny_folders.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`gguf_files_test: ${missing}`);

Deno.test("parsePartPath() reads what partPath() writes, and knows other names", () => {
  const path = partPath("a/b-of-c", { no: 1, count: 12 });
  assert.equal(path, "a/b-of-c-00002-of-00012.gguf");
  assert.deepEqual(parsePartPath(path), { prefix: "a/b-of-c", no: 1, count: 12 });
  for (const other of ["m.gguf", "m-2-of-3.gguf", "m-00002-of-00003.bin", "-00001-of-00002.gguf"]) {
    assert.equal(parsePartPath(other), null, other);
  }
});

Deno.test("a model cut into parts reads as the whole one does", async () => {
  await inTempFolder((dir) => {
    const source = openModel(makeTinyFolder("llama3", dir)), whole = `${dir}/m.gguf`;
    assert.deepEqual(exportGguf(whole, { source, adapter: null, dtype: "Q8_0" }), [whole]);
    const maxBytes = 100_000, paths = exportGguf(whole, { source, adapter: null, dtype: "Q8_0", maxBytes });
    source.close();
    const count = paths.length;
    assert.ok(count > 3);
    assert.deepEqual(paths, paths.map((_, no) => partPath(`${dir}/m`, { no, count })));
    let tensors = 0;
    for (const [no, path] of paths.entries()) {
      const bytes = openFile(path), file = openGguf(bytes), sizes = [...file.tensors.values()].map((t) => t.byteLength);
      assert.equal(file.metadata.get("split.no"), no);
      assert.equal(file.metadata.get("split.count"), count);
      assert.equal(file.types.get("split.count"), "uint16");
      assert.equal(file.metadata.has("general.architecture"), no === 0);
      assert.ok(sizes.length === 1 || sizes.reduce((a, b) => a + b) <= maxBytes, path);
      tensors += sizes.length;
      bytes.close();
    }
    const one = openModel(whole), cut = openModel(paths[0]);
    assert.equal(tensors, one.tensors.length + 1, "with rope_freqs");
    assert.deepEqual(cut.config, one.config);
    assert.notEqual(cut.fingerprint(), one.fingerprint());
    for (const { name } of one.tensors) assert.deepEqual(cut.float32(name), one.float32(name), name);
    const again = `${dir}/again.gguf`;
    exportGguf(again, { source: cut, adapter: null, dtype: "F16" });
    const bytes = openFile(again);
    assert.ok(![...openGguf(bytes).metadata.keys()].some((key) => key.startsWith("split.")), "joined again");
    bytes.close();
    one.close();
    cut.close();
  });
});

Deno.test({
  name: "llama.cpp opens a model in parts and answers as from one file",
  ignore: missing !== null,
  fn: () =>
    inTempFolder(async (dir) => {
      const source = openModel(makeTinyFolder("llama_tied", dir)), gguf = `${dir}/m.gguf`;
      const logits = [{ tokens: [1, 7, 30] }];
      exportGguf(gguf, { source, adapter: null, dtype: "F16" });
      const [first] = exportGguf(gguf, { source, adapter: null, dtype: "F16", maxBytes: 150_000 });
      source.close();
      assert.ok(parsePartPath(first));
      assert.deepEqual((await llamaCpp({ gguf: first, logits })).logits, (await llamaCpp({ gguf, logits })).logits);
    }),
});

Deno.test("parts that are missing, misnamed or of different models are refused with one line", async () => {
  await inTempFolder((dir) => {
    const write = (no: number, tensors: string[], keys: Record<string, unknown> = {}) => {
      const all = { "split.no": no, "split.count": 3, "split.tensors.count": 3, ...keys };
      const metadata = Object.entries(all).map(([key, value]): [string, TypedValue] => {
        return [
          key,
          typeof value === "string" ? { type: "string", value } : { type: "uint16", value: value as number },
        ];
      });
      const list = tensors.map((name) => {
        return { name, dtype: "F32", shape: [8], byteLength: 32, data: () => new Uint8Array(32) };
      });
      const path = partPath(`${dir}/m`, { no, count: 3 });
      writeAtomic(path, writeGguf(metadata, list));
      return path;
    };
    const good = () => [write(0, ["a"], { "general.name": "x" }), write(1, ["b"]), write(2, ["c"])];
    const [first, second, third] = good();
    openGgufFiles(first).close();

    const cases: [what: string, spoil: () => string, message: RegExp][] = [
      ["another than the first", () => second, /m-00002-of-00003\.gguf: it is part 2 of a model in 3 parts/],
      [
        "a missing part",
        () => (Deno.removeSync(third), first),
        /part 3 of 3 of the model: .*-00003-of-00003.* not exist/,
      ],
      ["a part twice", () => (Deno.copyFileSync(second, third), first), /it says that it is part 2 of 3/],
      ["another count", () => (write(2, ["c"], { "split.count": 4 }), first), /it says that it is part 3 of 4/],
      [
        "other totals",
        () => (write(1, ["b"], { "split.tensors.count": 9 }), first),
        /hold 9 tensors, the first one's 3/,
      ],
      ["a whole model", () => (write(2, ["c"], { "split.no": 0, "split.count": 1 }), first), /part 1 of 1/],
      ["another model", () => (write(2, ["c"], { "general.name": "y" }), first), /its "general.name" is another/],
      ["a tensor in two parts", () => (write(2, ["b"]), first), /Tensor "b" is both in .*00002.* and in .*00003/],
      ["too few tensors", () => (write(2, []), first), /3 parts of .* hold 2 tensors, not the 3 they say/],
      ["a damaged part", () => (Deno.writeTextFileSync(second, "GGUF"), first), /Cannot read .*-00002-of-00003/],
      ["a name without number", () => (Deno.copyFileSync(first, `${dir}/x.gguf`), `${dir}/x.gguf`), /its name hides/],
    ];
    for (const [what, spoil, message] of cases) {
      good();
      assertRefused(() => openGgufFiles(spoil()), message, what);
    }
  });
});

Deno.test("a model cut anywhere reads as the whole one, and any damage to a part is read or refused", async () => {
  await inTempFolder((dir) => {
    const source = openModel(makeTinyFolder("qwen2", dir)), gguf = `${dir}/m.gguf`;
    exportGguf(gguf, { source, adapter: null, dtype: "Q4_0" });
    const whole = openGgufFiles(gguf);
    let refused = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300_000 }),
        fc.nat(),
        fc.nat(),
        fc.nat(255),
        (maxBytes, which, place, value) => {
          const paths = exportGguf(gguf, { source, adapter: null, dtype: "Q4_0", maxBytes });
          const joined = openGgufFiles(paths[0]);
          const part = paths[which % paths.length], headerBytes = joined.files[which % paths.length].headerBytes;
          assert.deepEqual([...joined.tensors.keys()], [...whole.tensors.keys()]);
          for (const name of whole.tensors.keys()) assert.deepEqual(joined.bytes(name), whole.bytes(name), name);
          joined.close();
          const bytes = Deno.readFileSync(part);
          bytes[place % headerBytes] = value;
          Deno.writeFileSync(part, bytes);
          try {
            openGgufFiles(paths[0]).close();
          } catch (error) {
            assertUserError(error, part);
            refused++;
          }
          for (const path of paths) if (path !== gguf) Deno.removeSync(path);
        },
      ),
      { numRuns: 25 },
    );
    assert.ok(refused > 2, `${refused} refused`);
    whole.close();
    source.close();
  });
});

Deno.test("types that are not read are refused by name when the model is opened", async () => {
  await inTempFolder((dir) => {
    const source = openModel(makeTinyFolder("qwen3", dir)), gguf = `${dir}/m.gguf`;
    exportGguf(gguf, { source, adapter: null, dtype: "F32" });
    source.close();
    const bytes = openFile(gguf), { metadata, types, tensors } = openGguf(bytes);
    for (
      const [dtype, byteLength] of [["IQ4_NL", 18], ["IQ2_XXS", 66], ["TQ1_0", 54], ["MXFP4", 17], [
        "NVFP4",
        36,
      ]] as const
    ) {
      const kept = [...metadata].map(([key, value]): [string, TypedValue] => [key, { type: types.get(key)!, value }]);
      const list = [...tensors.values()].map(({ name, shape }) => {
        if (!name.endsWith("ffn_up.weight")) {
          const length = 4 * shape.reduce((a, b) => a * b);
          return { name, dtype: "F32", shape, byteLength: length, data: () => new Uint8Array(length) };
        }
        const block = { IQ4_NL: 32, IQ2_XXS: 256, TQ1_0: 256, MXFP4: 32, NVFP4: 64 }[dtype];
        // The rows of the tiny model are 128 long: two of them as one where a block is longer.
        const rows = block > shape[1] ? [shape[0] / 2, 2 * shape[1]] : shape;
        const length = shape[0] * shape[1] / block * byteLength;
        return { name, dtype, shape: rows, byteLength: length, data: () => new Uint8Array(length) };
      });
      writeAtomic(`${dir}/other.gguf`, writeGguf(kept, list));
      if (dtype === "IQ4_NL") openModel(`${dir}/other.gguf`).close();
      else {assertRefused(() =>
          openModel(`${dir}/other.gguf`), new RegExp(`2 of its \\d+ tensors are of type ${dtype}`));}
    }
    bytes.close();
  });
});
