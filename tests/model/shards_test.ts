// Models in several safetensors files: model.safetensors.index.json says which tensor is where.
import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../lib/errors.ts";
import { openFolderTensors } from "../../lib/model/model_files.ts";
import { openModel } from "../../lib/model/source.ts";
import { type StoredTensor, withTinyModel, writeTensors } from "../helpers/tiny_model.ts";

const shardName = (i: number, count: number) =>
  `model-${String(i + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.safetensors`;

/** Writes tensors to shards by number, and the index. Returns its map. */
function writeShards(
  folder: string,
  tensors: [string, StoredTensor][],
  shardOf: (i: number) => number,
): Record<string, string> {
  const count = Math.max(0, ...tensors.keys().map(shardOf)) + 1;
  for (let s = 0; s < count; s++) {
    writeTensors(`${folder}/${shardName(s, count)}`, tensors.filter((_, i) => shardOf(i) === s));
  }
  const weight_map = Object.fromEntries(tensors.map(([name], i) => [name, shardName(shardOf(i), count)]));
  writeIndex(folder, { metadata: { total_size: 1 }, weight_map });
  return weight_map;
}

function writeIndex(folder: string, index: unknown): void {
  Deno.writeTextFileSync(`${folder}/model.safetensors.index.json`, JSON.stringify(index));
}

/** The tiny llama3 in a folder, in three shards. */
async function withShards(
  use: (folder: string, map: Record<string, string>, whole: Map<string, Float32Array>) => void,
) {
  await withTinyModel({ name: "llama3" }, (folder) => {
    const source = openModel(folder);
    const whole = new Map(source.tensors.map(({ name }) => [name, source.float32(name)]));
    const stored = source.tensors.map(({ name, shape }): [string, StoredTensor] => {
      return [name, { dtype: "BF16", shape, bytes: source.bytesOf(name).slice() }];
    });
    source.close();
    Deno.removeSync(`${folder}/model.safetensors`);
    use(folder, writeShards(folder, stored, (i) => i % 3), whole);
  });
}

function refuses(folder: string, message: RegExp): void {
  assert.throws(() => openModel(folder), (error) => {
    assert.ok(error instanceof UserError, String((error as Error).stack));
    assert.match(`${error.message} | ${error.hint}`, message);
    return true;
  });
}

Deno.test("openModel() reads shards as it reads one file", async () => {
  await withShards((folder, _, whole) => {
    const sharded = openModel(folder);
    for (const [name, expected] of whole) assert.deepEqual(sharded.float32(name), expected, name);
    sharded.close();
  });
});

Deno.test("openModel() says which shard is missing or damaged, and what an index gets wrong", async () => {
  await withShards((folder, weight_map) => {
    const first = "model.embed_tokens.weight", index = `${folder}/model.safetensors.index.json`;
    const withFirst = (file: unknown) => writeIndex(folder, { weight_map: { ...weight_map, [first]: file } });
    for (const file of ["../x.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "x.bin", 3, null, {}]) {
      withFirst(file);
      refuses(folder, /index.json: tensor "model.embed_tokens.weight" is in .*, not a file beside it \| Fetch/);
    }
    withFirst("none.safetensors");
    refuses(folder, /Cannot find .*none.safetensors, which .*index.json lists \| 1 of the model's 4 shards is missing/);
    withFirst(shardName(1, 3));
    refuses(folder, /Cannot find tensor "model.embed_tokens.weight" in .*00002-of-00003.* says it is \| .*different/);
    const { [first]: _, ...rest } = weight_map;
    writeIndex(folder, { weight_map: rest });
    refuses(folder, /Cannot find tensor "model.embed_tokens.weight" in/);
    for (const wrong of [{}, [], null, { weight_map: [] }, { weight_map: "x" }]) {
      writeIndex(folder, wrong);
      refuses(folder, /weight_map is missing/);
    }
    Deno.writeTextFileSync(index, '{"weight_map": {');
    refuses(folder, /Cannot read .*index.json: .*JSON/);
    writeIndex(folder, { weight_map });
    const shard = `${folder}/${shardName(2, 3)}`, bytes = Deno.readFileSync(shard);
    Deno.writeFileSync(shard, bytes.subarray(0, bytes.length - 1));
    refuses(folder, /00003-of-00003.safetensors: .* fetch or copy it again/);
    Deno.removeSync(shard);
    refuses(folder, /Cannot find .*00003-of-00003.safetensors, which .* lists \| 1 of the model's 3 shards is missing/);
    Deno.removeSync(index);
    refuses(
      folder,
      /Cannot find model.safetensors in .* \| the folder holds shards: fetch model.safetensors.index.json/,
    );
  });
});

Deno.test("openFolderTensors() reads tensors however they are spread over shards", () => {
  const tensors = fc.uniqueArray(
    fc.tuple(fc.string({ minLength: 1, maxLength: 12 }), fc.uint8Array({ maxLength: 20 })),
    {
      selector: ([name]) => name,
      minLength: 1,
      maxLength: 8,
    },
  ).filter((list) => list.every(([name]) => name !== "__metadata__" && name !== "__proto__"));
  fc.assert(
    fc.property(tensors, fc.array(fc.nat(3), { minLength: 8, maxLength: 8 }), (list, shards) => {
      const folder = Deno.makeTempDirSync();
      try {
        const stored = list.map(([name, bytes]): [string, StoredTensor] => {
          return [name, { dtype: "U8", shape: [bytes.length], bytes }];
        });
        writeShards(folder, stored, (i) => shards[i]);
        const file = openFolderTensors(folder);
        assert.equal(file.tensors.size, list.length);
        for (const [name, bytes] of list) assert.deepEqual([...file.bytes(name)], [...bytes], name);
        file.close();
      } finally {
        Deno.removeSync(folder, { recursive: true });
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("openFolderTensors() answers a damaged index with a UserError", async () => {
  await withShards((folder) => {
    const path = `${folder}/model.safetensors.index.json`, good = Deno.readFileSync(path);
    const place = fc.tuple(fc.integer({ min: 0, max: good.length - 1 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        fc.array(place, { minLength: 1, maxLength: 3 }),
        fc.nat(good.length),
        fc.boolean(),
        (...[places, length, cut]) => {
          const bytes = good.slice(0, cut ? length : good.length);
          for (const [at, byte] of places) if (at < bytes.length) bytes[at] = byte;
          Deno.writeFileSync(path, bytes);
          try {
            openFolderTensors(folder).close();
          } catch (error) {
            assert.ok(error instanceof UserError, String((error as Error).stack));
            assert.ok(!error.message.includes("\n"), error.message);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
