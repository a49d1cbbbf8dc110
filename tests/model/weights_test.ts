import assert from "node:assert/strict";
import { openModel } from "../../lib/model/source.ts";
import { type LoadOptions, loadWeights, releaseWeights } from "../../lib/model/weights.ts";
import type { Executor, Value, WeightData } from "../../lib/ops.ts";
import { quantizeAbsmax, recoverAbsmax } from "../../lib/quant/double_quant.ts";
import { dequantizeNf4, quantizeNf4 } from "../../lib/quant/nf4.ts";
import { skipFeedForward } from "../helpers/bnb4_models.ts";
import { goldenFolder } from "../helpers/golden_models.ts";
import { type TinyModel, withTinyModel } from "../helpers/tiny_model.ts";

interface Kept extends Value {
  data: WeightData | Float32Array;
}

/** An executor that only keeps what it is given, and counts what is not given back. */
function keeper() {
  const held = new Set<Value>();
  const keep = (data: Kept["data"], shape: readonly number[]): Kept => {
    const value = { data, shape };
    held.add(value);
    return value;
  };
  const executor = {
    tensor: (data: Float32Array, shape: readonly number[]) => keep(data, shape),
    weight: (data: WeightData) => keep(data, data.shape),
    release: (...values: Value[]) => values.forEach((value) => assert.ok(held.delete(value), "released twice")),
  } as unknown as Executor;
  return { executor, held };
}

/** Every weight of a model by layer and key, as it was handed over. */
function load(folder: string, options: LoadOptions): Record<string, Kept["data"]> {
  const source = openModel(folder), { executor, held } = keeper();
  const weights = loadWeights(source, executor, options);
  const all: Record<string, Kept["data"]> = {};
  weights.layers.forEach((layer, l) => {
    for (const [key, value] of Object.entries(layer)) all[`${l}.${key}`] = (value as Kept).data;
  });
  for (const key of ["embed_tokens", "norm", "lm_head"] as const) all[key] = (weights[key] as Kept).data;
  releaseWeights(executor, weights);
  assert.equal(held.size, 0, "values left over");
  source.close();
  return all;
}

/** Loads, and says which share of the model's file was read: little, where the projections came from the cache. */
function loadCounting(folder: string, options: LoadOptions): { share: number; weights: ReturnType<typeof load> } {
  const read = Deno.FsFile.prototype.readSync;
  let bytes = 0;
  const name = Deno.realPathSync(`${folder}/model.safetensors`), size = Deno.statSync(name).size;
  Deno.FsFile.prototype.readSync = function (this: Deno.FsFile, buffer: Uint8Array) {
    if (this.statSync().ino === Deno.statSync(name).ino) bytes += buffer.length;
    return read.call(this, buffer);
  };
  try {
    const weights = load(folder, options);
    return { share: bytes / size, weights };
  } finally {
    Deno.FsFile.prototype.readSync = read;
  }
}

Deno.test("loadWeights() names a layer's tensors by key and hands over what is stored", () => {
  for (const name of ["qwen2", "gemma3", "llama3"]) {
    const weights = load(goldenFolder + name, { linear: "f32" }), source = openModel(goldenFolder + name);
    for (const { name, key, layer, shape } of source.tensors) {
      const found = weights[layer === undefined ? key : `${layer}.${key}`];
      const data = shape.length === 2 ? (found as WeightData & { kind: "f32" }).data : found;
      assert.deepEqual(data, source.float32(name), name);
    }
    assert.equal(weights.lm_head === weights.embed_tokens, source.config.tied);
    source.close();
  }
});

Deno.test("loadWeights() quantises as quantizeNf4() with and without double quantisation", () => {
  const source = openModel(`${goldenFolder}llama3`);
  const x = source.float32("model.layers.1.mlp.down_proj.weight");
  source.close();
  const { packed, absmax } = quantizeNf4(x);
  const single = load(`${goldenFolder}llama3`, { linear: "nf4", doubleQuant: false });
  assert.deepEqual(single["1.down_proj"], { kind: "nf4", shape: [128, 320], packed, absmax });
  const codes = quantizeAbsmax(absmax), recovered = recoverAbsmax(codes);
  assert.notDeepEqual(recovered, absmax);
  const double = load(`${goldenFolder}llama3`, { linear: "nf4" });
  assert.deepEqual(double["1.down_proj"], { kind: "nf4", shape: [128, 320], packed, absmax: codes });
  const written = load(`${goldenFolder}llama3`, { linear: "dequantised" });
  const data = dequantizeNf4(packed, recovered, x.length);
  assert.deepEqual(written["1.down_proj"], { kind: "f32", shape: [128, 320], data });
});

Deno.test("loadWeights() keeps quantised weights and finds every reason not to trust them", async (t) => {
  await withTinyModel({ name: "llama3" }, async (folder) => {
    const cacheDir = `${folder}/cache/nf4`, options: LoadOptions = { linear: "nf4", cacheDir };
    const expected = load(folder, { linear: "nf4" });
    const file = () => `${cacheDir}/${[...Deno.readDirSync(cacheDir)].map(({ name }) => name).join("|")}`;
    /** Loads; `fresh` says whether the projections had to be read from the model. */
    const check = (fresh: boolean) => {
      const { share, weights } = loadCounting(folder, options);
      assert.deepEqual(weights, expected);
      assert.equal(share > 0.7, fresh, `read ${share} of the model`);
    };
    await t.step("first written, then used", () => {
      check(true);
      check(false);
    });
    const good = Deno.readFileSync(file());
    const damaged = (change: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array) => {
      Deno.writeFileSync(file(), change(good.slice()));
      check(true);
      assert.deepEqual(Deno.readFileSync(file()), good, "written anew");
      check(false);
    };
    await t.step("one bit of a weight", () =>
      damaged((bytes) => {
        bytes[bytes.length >> 1] ^= 1;
        return bytes;
      }));
    await t.step("one bit of the digests", () =>
      damaged((bytes) => {
        bytes[bytes.length - 1] ^= 128;
        return bytes;
      }));
    await t.step("cut short", () => damaged((bytes) => bytes.subarray(0, bytes.length - 1)));
    await t.step("another file", () => damaged(() => new TextEncoder().encode("something else")));
    await t.step("empty", () => damaged(() => new Uint8Array()));
    await t.step("another format version", () =>
      damaged((bytes) => {
        const at = new TextDecoder("latin1").decode(bytes).indexOf('"version":"1"') + 11;
        bytes[at] = "0".charCodeAt(0);
        return bytes;
      }));
    await t.step("the model changed", () => {
      Deno.utimeSync(`${folder}/model.safetensors`, new Date(), new Date(Date.now() + 60_000));
      check(true);
      check(false);
    });
    await t.step("another setting has a file of its own", () => {
      load(folder, { ...options, doubleQuant: false });
      check(false);
      assert.equal([...Deno.readDirSync(cacheDir)].length, 2);
    });
  });
});

Deno.test("loadWeights() works where the cache cannot be written", async () => {
  await withTinyModel({ name: "llama_tied" }, (folder) => {
    const expected = load(folder, { linear: "nf4" });
    Deno.writeTextFileSync(`${folder}/file`, "");
    assert.deepEqual(load(folder, { linear: "nf4", cacheDir: `${folder}/file/below` }), expected);
    Deno.mkdirSync(`${folder}/full`);
    const write = Deno.FsFile.prototype.writeSync;
    let writes = 0;
    Deno.FsFile.prototype.writeSync = function (this: Deno.FsFile, bytes: Uint8Array) {
      if (++writes === 4) throw new Error("No space left on device (os error 28)");
      return write.call(this, bytes);
    };
    try {
      assert.deepEqual(load(folder, { linear: "nf4", cacheDir: `${folder}/full` }), expected);
    } finally {
      Deno.FsFile.prototype.writeSync = write;
    }
    assert.equal(writes, 4);
    assert.deepEqual([...Deno.readDirSync(`${folder}/full`)], [], "nothing half-written");
  });
});

Deno.test("loadWeights() reports progress up to the last tensor, and damaged weights also with a cache", async () => {
  const seen: string[] = [];
  load(`${goldenFolder}qwen3`, { linear: "nf4", progress: (done, total) => seen.push(`${done}/${total}`) });
  assert.deepEqual([seen[0], seen.at(-1), seen.length], ["1/24", "24/24", 24]);
  const change = ({ tensors }: { tensors: Map<string, { bytes: Uint8Array }> }) => {
    tensors.get("model.layers.1.mlp.up_proj.weight")!.bytes.set([0xc0, 0x7f], 100); // a bfloat16 NaN at element 50
  };
  await withTinyModel({ name: "qwen3", change }, (folder) => {
    const cacheDir = `${folder}/cache`;
    const message = /Tensor "model.layers.1.mlp.up_proj.weight" in .* holds NaN at element 50 of 40960/;
    assert.throws(() => load(folder, { linear: "nf4", cacheDir }), message);
    assert.deepEqual([...Deno.readDirSync(cacheDir)], [], "nothing half-written");
  });
});

Deno.test("loadWeights() hands over a bitsandbytes checkpoint's own codes, and what it left in 16 bits as it is", async () => {
  await withTinyModel({ name: "llama3_bnb4", change: skipFeedForward }, (folder) => {
    const cacheDir = `${folder}/cache`, weights = load(folder, { linear: "nf4", cacheDir });
    const source = openModel(folder), plain = openModel(`${goldenFolder}llama3`);
    const name = "model.layers.0.mlp.up_proj.weight";
    assert.deepEqual(weights["0.up_proj"], { kind: "nf4", shape: [320, 128], ...source.nf4(name) });
    const data = plain.float32("model.layers.1.mlp.up_proj.weight");
    assert.deepEqual(weights["1.up_proj"], { kind: "f32", shape: [320, 128], data });
    const kept = "model.layers.1.mlp.up_proj.weight";
    assert.deepEqual([name, kept].map((name) => source.precision(name)), ["NF4", "BF16"]);
    assert.deepEqual([name, kept].map((name) => source.fourBit(name)), ["own", "never"]);
    assert.throws(() => Deno.statSync(cacheDir), Deno.errors.NotFound, "nothing to keep a second time");
    source.close();
    plain.close();
  });
});

Deno.test("loadWeights() quantises what a bitsandbytes checkpoint stores in FP4 or in other blocks, and keeps that", async () => {
  const name = "model.layers.0.mlp.up_proj.weight", state = `${name}.quant_state.bitsandbytes__`;
  const change = ({ tensors }: TinyModel) => {
    const stored = tensors.get(`${state}nf4`)!, text = new TextDecoder().decode(stored.bytes).replace('"nf4"', '"fp4"');
    tensors.delete(`${state}nf4`);
    tensors.set(`${state}fp4`, { ...stored, bytes: new TextEncoder().encode(text) });
  };
  await withTinyModel({ name: "llama3_bnb4", change }, (folder) => {
    const options: LoadOptions = { linear: "nf4", cacheDir: `${folder}/cache` }, source = openModel(folder);
    const { packed, absmax } = quantizeNf4(source.float32(name) as Float32Array);
    const expected = { kind: "nf4", shape: [320, 128], packed, absmax: quantizeAbsmax(absmax) };
    assert.deepEqual([source.precision(name), source.fourBit(name)], ["FP4", "quantise"]);
    for (const time of ["made", "read"]) assert.deepEqual(load(folder, options)["0.up_proj"], expected, time);
    // The cache holds this weight alone: codes, maxima, digests.
    const [{ name: file }] = Deno.readDirSync(`${folder}/cache`);
    assert.ok(Deno.statSync(`${folder}/cache/${file}`).size < packed.length + absmax.length + 1000);
    source.close();
  });
});
