// Models with a stretched context, written as GGUF and config.json, read back, and run by real llama.cpp.
import assert from "node:assert/strict";
import { exportGguf } from "../../lib/export/gguf.ts";
import { hfConfig } from "../../lib/export/hf_config.ts";
import { configFromHf } from "../../lib/model/parse_config.ts";
import { openModel } from "../../lib/model/source.ts";
import { assertClose } from "../helpers/close.ts";
import { logitsOf } from "../helpers/golden_models.ts";
import { llamaCpp, llamaCppMissing } from "../helpers/llama_cpp.ts";
import { makeTinyFolder, tinyVocabulary } from "../helpers/tiny_folders.ts";
import { readTinyModel } from "../helpers/tiny_model.ts";
import { executorFloat64 } from "../reference/ops_float64.ts";

const missing = await llamaCppMissing();
if (missing) console.log(`rope_scaling_test: ${missing}`);

const scalings = {
  linear: { rope_type: "linear", factor: 4 },
  dynamic: { rope_type: "dynamic", factor: 4 },
  yarn: { rope_type: "yarn", factor: 8, original_max_position_embeddings: 512 },
  "yarn with its own attention factor": {
    rope_type: "yarn",
    factor: 4,
    original_max_position_embeddings: 1024,
    attention_factor: 1.25,
  },
};

/** The tiny llama_tied with this scaling, as a folder and as GGUF in F32. */
async function withScaled(scaling: Record<string, unknown>, use: (folder: string, gguf: string) => unknown) {
  const place = Deno.makeTempDirSync({ prefix: "rope_scaling_" });
  try {
    const folder = makeTinyFolder("llama_tied", place), path = `${folder}/config.json`, gguf = `${place}/model.gguf`;
    const config = JSON.parse(Deno.readTextFileSync(path));
    config.rope_parameters = { rope_theta: 10_000, ...scaling };
    Deno.writeTextFileSync(path, JSON.stringify(config));
    const source = openModel(folder);
    exportGguf(gguf, { source, adapter: null, dtype: "F32" });
    source.close();
    await use(folder, gguf);
  } finally {
    Deno.removeSync(place, { recursive: true });
  }
}

for (const [name, scaling] of Object.entries(scalings)) {
  Deno.test(`exportGguf() and hfConfig() keep ${name} rope scaling`, async () => {
    await withScaled(scaling, (folder, gguf) => {
      const source = openModel(folder), found = openModel(gguf);
      const json = hfConfig(found.config, { dtype: "float16" });
      for (const { rope } of [found.config, configFromHf(json, { source: "config.json" })]) {
        assert.equal(rope.theta, 10_000);
        assert.deepEqual(Object.keys(rope.scaling), Object.keys(source.config.rope.scaling));
        for (const [key, value] of Object.entries(source.config.rope.scaling)) {
          const written = rope.scaling[key as keyof typeof rope.scaling] as unknown;
          // GGUF stores f32, of YaRN's attention factor the quotient with its usual one.
          if (typeof value === "number") assertClose([written as number], [value], { rtol: 1e-6, what: key });
          else assert.equal(written, value, key);
        }
      }
      source.close();
      found.close();
    });
  });

  Deno.test({
    name: `llama.cpp computes ${name} rope scaling as this program does`,
    ignore: missing !== null,
    fn: async () => {
      await withScaled(scaling, async (folder, gguf) => {
        const tokens = Int32Array.from({ length: 48 }, (_, i) => 3 + (i * 37) % (tinyVocabulary - 3));
        const targets = new Uint8Array(tokens.length);
        const expected = await logitsOf(folder, [{ tokens, targets }], { executor: executorFloat64() });
        const positions = [...tokens.keys()];
        const { logits: [found] } = await llamaCpp({ gguf, exact: true, logits: [{ tokens: [...tokens], positions }] });
        for (const t of positions) {
          const row = expected.subarray(t * tinyVocabulary, (t + 1) * tinyVocabulary);
          assertClose(found[t], row, { rtol: 1e-4, what: `token ${t}` });
        }
      });
    },
  });
}

Deno.test("exportGguf() refuses YaRN that llama.cpp would compute otherwise; hfConfig() keeps it", async () => {
  const scaling = {
    rope_type: "yarn",
    factor: 4,
    original_max_position_embeddings: 1024,
    beta_fast: 16,
    truncate: false,
  };
  const message = /as GGUF: its YaRN scaling has beta_fast 16, beta_slow 1 and truncate false, not 32, 1 and true/;
  await assert.rejects(() => withScaled(scaling, () => {}), message);
  const config = { ...readTinyModel("llama_tied").config, rope_parameters: { rope_theta: 10_000, ...scaling } };
  const parsed = configFromHf(config, { source: "config.json" });
  const again = configFromHf(hfConfig(parsed, { dtype: "float16" }), { source: "config.json" });
  assert.deepEqual(again.rope, parsed.rope);
});
