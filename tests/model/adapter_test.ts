import assert from "node:assert/strict";
import fc from "fast-check";
import { UserError } from "../../lib/errors.ts";
import { hashUniform, initMagnitudes, loraScale, type LoraSettings, makeParameters } from "../../lib/model/adapter.ts";
import { loadAdapter } from "../../lib/model/load_adapter.ts";
import { projections } from "../../lib/model/names.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { openModel } from "../../lib/model/source.ts";
import { loadWeights } from "../../lib/model/weights.ts";
import { assertClose } from "../helpers/close.ts";
import { goldenPath } from "../helpers/golden.ts";
import { goldenFolder, logitsOf, readExpected } from "../helpers/golden_models.ts";
import { readTinyModel, type StoredTensor, storeF32, writeTensors } from "../helpers/tiny_model.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

const settings: LoraSettings = {
  r: 4,
  lora_alpha: 8,
  lora_dropout: 0,
  use_rslora: false,
  use_dora: false,
  target_modules: [...projections],
  init_lora_weights: true,
  seed: 3407,
};
const configOf = (change: Record<string, unknown> = {}) =>
  configFromHf({ ...readTinyModel("llama3").config, ...change }, { source: "llama3" });

Deno.test("loadAdapter() calls another kind of adapter by its name, whatever its files are called", () => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${folder}/adapter_config.json`, JSON.stringify({ peft_type: "IA3" }));
    assert.throws(() => loadAdapter(folder, configOf()), /peft_type "IA3" is not supported, LORA is/);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("loraScale() is alpha/r, with rsLoRA alpha/sqrt(r)", () => {
  assert.equal(loraScale({ r: 16, lora_alpha: 8, use_rslora: false }), 0.5);
  assert.equal(loraScale({ r: 16, lora_alpha: 8, use_rslora: true }), 2);
});

Deno.test("makeParameters() lists A, B and DoRA's magnitude of the chosen modules with their shapes", () => {
  const parameters = makeParameters(configOf(), {
    ...settings,
    use_dora: true,
    target_modules: ["down_proj", "k_proj"],
  });
  const layer = (l: number) => [
    [`base_model.model.model.layers.${l}.self_attn.k_proj.lora_A.weight`, [4, 128]],
    [`base_model.model.model.layers.${l}.self_attn.k_proj.lora_B.weight`, [64, 4]],
    [`base_model.model.model.layers.${l}.self_attn.k_proj.lora_magnitude_vector`, [64]],
    [`base_model.model.model.layers.${l}.mlp.down_proj.lora_A.weight`, [4, 320]],
    [`base_model.model.model.layers.${l}.mlp.down_proj.lora_B.weight`, [128, 4]],
    [`base_model.model.model.layers.${l}.mlp.down_proj.lora_magnitude_vector`, [128]],
  ];
  assert.deepEqual(parameters.map(({ name, shape }) => [name, shape]), [...layer(0), ...layer(1)]);
  for (const { value, grad, shape } of parameters) {
    assert.equal(value.length, (shape as number[]).reduce((a, b) => a * b));
    assert.equal(grad.length, value.length);
    assert.ok(grad.every((x) => x === 0));
  }
});

Deno.test("makeParameters() with hash starts A by the formula, modules counted in string order", () => {
  // The formula in Python: seed, k, i and the value before the division by sqrt(inputs).
  for (
    const [seed, k, i, expected] of [
      [3407, 0, 0, -0.2963880244642496],
      [3407, 0, 1, -0.654296085704118],
      [3407, 1, 575, -0.3556359023787081],
      [3407, 209, 9215, -0.6966833611950278],
      [7, 5, 3, 0.14222669741138816],
    ]
  ) assert.equal(hashUniform({ seed, k, i }), expected);
  // Twelve layers, so that "layers.10" sorts before "layers.2".
  const parameters = makeParameters(configOf({ num_hidden_layers: 12 }), { ...settings, init_lora_weights: "hash" });
  for (
    const [module, k] of [
      ["0.mlp.down_proj", 0],
      ["10.mlp.down_proj", 14],
      ["2.self_attn.q_proj", 33],
      ["11.self_attn.v_proj", 27],
    ] as const
  ) {
    const { value, shape } = parameters.find(({ name }) => name.includes(`layers.${module}.lora_A`))!;
    const expected = Float32Array.from(value, (_, i) => hashUniform({ seed: 3407, k, i }) / Math.sqrt(shape[1]!));
    assert.deepEqual(value, expected, module);
  }
});

Deno.test("makeParameters() starts A uniform within 1/sqrt(inputs) or normal with deviation 1/r, and B at 0", () => {
  const of = (init: LoraSettings["init_lora_weights"], seed = 1) =>
    makeParameters(configOf(), { ...settings, r: 16, init_lora_weights: init, seed });
  const statistics = (x: Float32Array) => {
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    return { mean, deviation: Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length) };
  };
  for (const { name, value, shape } of of(true)) {
    if (name.includes("lora_B")) assert.ok(value.every((x) => x === 0));
    else {
      const bound = 1 / Math.sqrt(shape[1]!), { mean, deviation } = statistics(value);
      assert.ok(value.every((x) => Math.abs(x) <= bound), name);
      // 2048 samples or more: the mean of uniform numbers strays by bound/sqrt(3*2048) = 0.013 bound.
      assert.ok(Math.abs(mean) < 0.06 * bound, `${name}: mean ${mean}`);
      assert.ok(Math.abs(deviation / (bound / Math.sqrt(3)) - 1) < 0.06, `${name}: deviation ${deviation}`);
    }
  }
  for (const { name, value } of of("gaussian").filter(({ name }) => name.includes("lora_A"))) {
    const { mean, deviation } = statistics(value);
    assert.ok(Math.abs(mean) < 0.1 / 16 && Math.abs(deviation * 16 - 1) < 0.08, `${name}: ${mean}, ${deviation}`);
    assert.ok(value.some((x) => Math.abs(x) > 2.5 / 16) && value.every(Number.isFinite), name);
  }
  const values = (seed: number) => of(true, seed).map(({ value }) => value);
  assert.deepEqual(values(1), values(1));
  const [a, b] = [values(1)[0], values(2)[0]];
  assert.ok(a.filter((x, i) => x === b[i]).length < 3, "another seed, other numbers");
  const first = new Set(of(true).filter(({ name }) => name.includes("lora_A")).map(({ value }) => value[0]));
  assert.equal(first.size, 14, "every module has numbers of its own");
});

Deno.test("initMagnitudes() sets DoRA's magnitudes to the norms of the rows of W", async () => {
  const source = openModel(`${goldenFolder}llama3`), { config } = source;
  const executor = executorFloat64(), weights = loadWeights(source, executor, { linear: "f32" });
  const dora = { ...settings, use_dora: true, target_modules: ["k_proj" as const] };
  const parameters = makeParameters(config, dora);
  await initMagnitudes(parameters, { executor, weights, config, settings: dora });
  for (let layer = 0; layer < config.layers; layer++) {
    const w = source.float32(`model.layers.${layer}.self_attn.k_proj.weight`);
    const norms = Array.from({ length: 64 }, (_, o) => Math.hypot(...w.subarray(o * 128, (o + 1) * 128)));
    assertClose(parameters[3 * layer + 2].value, norms, { rtol: 1e-6 });
  }
  source.close();
});

/** Writes an adapter of the tiny llama3 after `change`, and reads it. */
function readBack(change: (config: Record<string, unknown>, tensors: Map<string, StoredTensor>) => void = () => {}) {
  const folder = Deno.makeTempDirSync();
  try {
    const parameters = makeParameters(configOf(), settings);
    const config: Record<string, unknown> = {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: "models/tiny",
      r: 4,
      lora_alpha: 8,
      lora_dropout: 0,
      bias: "none",
      target_modules: "all-linear",
      init_lora_weights: true,
      rank_pattern: {},
      alpha_pattern: {},
      modules_to_save: null,
      loftq_config: {},
      fan_in_fan_out: false,
    };
    const tensors = new Map(parameters.map(({ name, value, shape }) => [name, storeF32(value, [...shape])]));
    change(config, tensors);
    Deno.writeTextFileSync(`${folder}/adapter_config.json`, JSON.stringify(config));
    writeTensors(`${folder}/adapter_model.safetensors`, tensors);
    return { parameters, loaded: loadAdapter(folder, configOf()) };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("loadAdapter() gives back the parameters in order and the settings", () => {
  const { parameters, loaded } = readBack((config, tensors) => {
    config.use_rslora = true;
    config.lora_dropout = 0.1;
    // The order of a file's tensors does not matter.
    const reversed = [...tensors].reverse();
    tensors.clear();
    for (const [name, tensor] of reversed) tensors.set(name, tensor);
  });
  assert.deepEqual(loaded.parameters, parameters);
  assert.equal(loaded.baseModel, "models/tiny");
  assert.deepEqual(loaded.settings, { ...settings, use_rslora: true, lora_dropout: 0.1, seed: 0 });
});

const name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
const refused: [string, Parameters<typeof readBack>[0], RegExp][] = [
  ["another method", (config) => config.peft_type = "IA3", /peft_type "IA3" is not supported/],
  ["trained biases", (config) => config.bias = "all", /bias "all" is not supported/],
  [
    "another rank by pattern",
    (config) => config.rank_pattern = { q_proj: 8 },
    /q_proj.lora_A.weight" in .* has shape \[4, 128\], expected \[8, 128\]/,
  ],
  ["a rank of 0", (config) => config.rank_pattern = { q_proj: 0 }, /rank_pattern gives "q_proj" 0/],
  ["an alpha that is text", (config) => config.alpha_pattern = { q_proj: "8" }, /alpha_pattern gives "q_proj" "8"/],
  ["a pattern that is none", (config) => config.alpha_pattern = { "(": 8 }, /has the key "\(", which is not supported/],
  [
    "a pattern that never ends",
    (config) => config.alpha_pattern = { "(.*a)*b": 8 },
    /has the key "\(\.\*a\)\*b", which is not supported/,
  ],
  ["biases of A and B", (config) => config.lora_bias = true, /lora_bias true is not supported/],
  [
    "layers used twice",
    (config) => config.layer_replication = [[0, 2]],
    /layer_replication \[\[0,2\]\] is not supported/,
  ],
  ["saved modules", (config) => config.modules_to_save = ["lm_head"], /modules_to_save \["lm_head"\] is not supported/],
  ["a changed base", (config) => config.init_lora_weights = "pissa_niter_16", /init_lora_weights "pissa_niter_16"/],
  ["another rank", (config) => config.r = 8, /lora_A.weight" in .* has shape \[4, 128\], expected \[8, 128\]/],
  [
    "a missing tensor",
    (_, tensors) => tensors.delete(name),
    /Cannot find tensor ".*layers.1.mlp.up_proj.lora_B.weight"/,
  ],
  [
    "a layer too many",
    (_, tensors) => tensors.set(name.replace("layers.1.", "layers.2."), tensors.get(name)!),
    /layers.2.mlp.up_proj.lora_B.weight" in .* has no place in a model of 2 layers/,
  ],
  [
    "an embedding",
    (_, tensors) => tensors.set("base_model.model.model.embed_tokens.lora_embedding_A", storeF32([1], [1])),
    /embed_tokens.lora_embedding_A" in .* is not supported/,
  ],
  [
    "NaN",
    (_, tensors) => tensors.set(name, storeF32(new Float32Array(1280).fill(NaN, 31), [320, 4])),
    /up_proj.lora_B.weight" in .* holds NaN at element 31/,
  ],
  ["DoRA without magnitudes", (config) => config.use_dora = true, /Cannot find tensor ".*lora_magnitude_vector"/],
];

Deno.test("loadAdapter() refuses what does not fit or is not supported", async (t) => {
  for (const [what, change, message] of refused) {
    await t.step(what, () => {
      assert.throws(() => readBack(change), (error) => {
        assert.ok(error instanceof UserError, String((error as Error).stack));
        assert.match(error.message, message);
        return true;
      });
    });
  }
  await t.step("no adapter at all", () => {
    assert.throws(() => loadAdapter(`${goldenFolder}llama3`, configOf()), /Cannot find .*adapter_config.json/);
  });
});

const peft = goldenPath("peft/");

for (const name of ["patterns", "layers"]) {
  Deno.test(`loadAdapter() reads what PEFT saves, "${name}", with PEFT's logits`, async () => {
    const expected = readExpected(name, peft), tokens = Int32Array.from(expected.get("input_ids")!.data);
    const rows = [{ tokens, targets: new Uint8Array(tokens.length) }], executor = executorFloat64();
    const { data } = expected.get("logits")!;
    const found = await logitsOf(`${goldenFolder}llama3`, rows, { executor, adapter: `${peft}${name}` });
    assertClose(found, data, { rtol: 1e-5, what: "logits" });
    const base = await logitsOf(`${goldenFolder}llama3`, rows, { executor });
    assert.ok(base.some((x, i) => Math.abs(x - data[i]) > 0.1), "the adapter changes something");
  });
}

Deno.test("loadAdapter() makes one rank and scale of several, what a module lacks being 0", () => {
  const { settings, parameters } = loadAdapter(`${peft}patterns`, configOf());
  assert.deepEqual(settings, {
    ...{ r: 5, lora_alpha: 4 / Math.sqrt(2) * Math.sqrt(5), lora_dropout: 0, use_rslora: true, use_dora: false },
    ...{ target_modules: ["q_proj", "v_proj", "down_proj"], init_lora_weights: true, seed: 0 },
  });
  const of = (name: string) => parameters.find((parameter) => parameter.name.endsWith(`${name}.weight`))!;
  assert.ok(of("layers.0.mlp.down_proj.lora_A").value.every((x) => x === 0));
  const a = of("layers.0.self_attn.q_proj.lora_A"), b = of("layers.0.self_attn.q_proj.lora_B");
  assert.deepEqual([a.shape, b.shape], [[5, 128], [128, 5]]);
  assert.ok(a.value.every((x, i) => (x !== 0) === (i < 2 * 128)));
  assert.ok(b.value.every((x, i) => (x !== 0) === (i % 5 < 2)));
});

Deno.test("loadAdapter() refuses adapter_model.bin, and says what to do", () => {
  const folder = Deno.makeTempDirSync();
  Deno.writeTextFileSync(`${folder}/adapter_config.json`, "{}");
  Deno.writeTextFileSync(`${folder}/adapter_model.bin`, "");
  assert.throws(() => loadAdapter(folder, configOf()), /adapter_model.bin: only adapter_model.safetensors is read/);
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("loadAdapter() gives back any valid adapter, whatever its tensors are called", () => {
  const adapter = fc.record({
    r: fc.integer({ min: 1, max: 9 }),
    lora_alpha: fc.double({ min: 0.1, max: 100, noNaN: true }),
    use_rslora: fc.boolean(),
    target_modules: fc.subarray([...projections], { minLength: 1 }),
    seed: fc.integer({ min: 0, max: 100 }),
    spelling: fc.constantFrom(
      (name: string) => name,
      (name: string) => name.replace("base_model.model.", ""),
      (name: string) => name.replace(/\.weight$/, ".default.weight"),
    ),
  });
  fc.assert(
    fc.property(adapter, ({ spelling, ...own }) => {
      const made = { ...settings, ...own }, parameters = makeParameters(configOf(), made);
      const { loaded } = readBack((config, tensors) => {
        Object.assign(config, own);
        tensors.clear();
        for (const { name, value, shape } of parameters) tensors.set(spelling(name), storeF32(value, [...shape]));
      });
      assert.deepEqual(loaded.parameters, parameters);
      const inOrder = projections.filter((projection) => own.target_modules.includes(projection));
      assert.deepEqual(loaded.settings, { ...made, target_modules: inOrder, seed: 0 });
    }),
    { numRuns: 15 },
  );
});

Deno.test("loadAdapter() answers damage with a UserError", () => {
  const place = fc.double({ min: 0, max: 0.9999999, noNaN: true });
  const key = fc.constantFrom(
    ...["r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_dora", "bias", "modules_to_save"],
    ...["layers_to_transform", "lora_dropout", "peft_type", "init_lora_weights", "base_model_name_or_path"],
  );
  const folder = Deno.makeTempDirSync();
  const files = ["adapter_config.json", "adapter_model.safetensors"].map((name) => {
    return { path: `${folder}/${name}`, bytes: Deno.readFileSync(`${peft}patterns/${name}`) };
  });
  const json = JSON.parse(new TextDecoder().decode(files[0].bytes));
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 }),
      place,
      fc.integer({ min: 0, max: 255 }),
      key,
      fc.json({ maxDepth: 2 }),
      (...[which, at, byte, key, value]) => {
        for (const [i, { path, bytes }] of files.entries()) {
          const damaged = bytes.slice();
          // In the header of the tensors as often as in their numbers.
          if (which === i) damaged[Math.floor(at * (byte % 2 ? bytes.length : Math.min(bytes.length, 1200)))] = byte;
          Deno.writeFileSync(path, damaged);
        }
        if (which === 2) Deno.writeTextFileSync(files[0].path, JSON.stringify({ ...json, [key]: JSON.parse(value) }));
        try {
          loadAdapter(folder, configOf());
        } catch (error) {
          assert.ok(error instanceof UserError, String((error as Error).stack));
          assert.ok(!error.message.includes("\n"), error.message);
        }
      },
    ),
    { numRuns: 300 },
  );
  Deno.removeSync(folder, { recursive: true });
});
