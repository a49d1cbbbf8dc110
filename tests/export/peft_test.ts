// The adapter folder: what PEFT expects in it, and the way back.
import assert from "node:assert/strict";
import { UserError } from "../../lib/errors.ts";
import { writeAdapter } from "../../lib/export/peft.ts";
import { openFile } from "../../lib/files/file_source.ts";
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import { type LoraSettings, makeParameters } from "../../lib/model/adapter.ts";
import { loadAdapter } from "../../lib/model/load_adapter.ts";
import { openModel } from "../../lib/model/source.ts";
import { goldenFolder } from "../helpers/golden_models.ts";
import { randomFloats } from "../helpers/random.ts";
import { inTempFolder } from "../helpers/temp_folder.ts";

const source = openModel(`${goldenFolder}qwen3`), { config } = source;
source.close();

const settings: LoraSettings = {
  r: 5,
  lora_alpha: 7,
  lora_dropout: 0.25,
  use_rslora: true,
  use_dora: true,
  target_modules: ["q_proj", "v_proj", "down_proj"],
  init_lora_weights: "hash",
  seed: 3,
};

function someParameters() {
  const parameters = makeParameters(config, settings);
  for (const [i, { value }] of parameters.entries()) value.set(randomFloats(value.length, i));
  return parameters;
}

Deno.test("writeAdapter() writes what loadAdapter() reads: settings, every tensor bit for bit, the base model", () =>
  inTempFolder((dir) => {
    const parameters = someParameters();
    writeAdapter(`${dir}/run/adapter`, { settings, parameters, baseModel: "smollm2-135m" });
    const back = loadAdapter(`${dir}/run/adapter`, config);
    assert.deepEqual(back.settings, { ...settings, init_lora_weights: true, seed: 0 });
    assert.equal(back.baseModel, "smollm2-135m");
    assert.deepEqual(
      back.parameters.map(({ name, shape, value }) => ({ name, shape, value })),
      parameters.map(({ name, shape, value }) => ({ name, shape, value })),
    );
    // The other way round: a second writing over the first leaves the same bytes.
    const first = Deno.readFileSync(`${dir}/run/adapter/adapter_model.safetensors`);
    writeAdapter(`${dir}/run/adapter`, { settings, parameters: back.parameters, baseModel: "smollm2-135m" });
    assert.deepEqual(Deno.readFileSync(`${dir}/run/adapter/adapter_model.safetensors`), first);
    assert.deepEqual([...Deno.readDirSync(`${dir}/run/adapter`)].map(({ name }) => name).sort(), [
      "adapter_config.json",
      "adapter_model.safetensors",
    ]);
  }));

Deno.test("writeAdapter() uses PEFT's names, shapes and fields", () =>
  inTempFolder((dir) => {
    writeAdapter(dir, { settings, parameters: someParameters(), baseModel: "base" });
    const file = openFile(`${dir}/adapter_model.safetensors`), { tensors, metadata } = openSafetensors(file);
    const of = (name: string) => {
      const info = tensors.get(`base_model.model.model.layers.1.${name}`);
      return info && [info.dtype, info.shape];
    };
    assert.deepEqual(of("self_attn.v_proj.lora_A.weight"), ["F32", [5, 128]]);
    assert.deepEqual(of("self_attn.v_proj.lora_B.weight"), ["F32", [64, 5]]);
    assert.deepEqual(of("mlp.down_proj.lora_A.weight"), ["F32", [5, 320]]);
    assert.deepEqual(of("mlp.down_proj.lora_magnitude_vector"), ["F32", [128]]);
    assert.equal(tensors.size, 2 * 3 * 3);
    assert.deepEqual(metadata, { format: "pt" });
    file.close();
    const written = JSON.parse(Deno.readTextFileSync(`${dir}/adapter_config.json`));
    const { peft_type, task_type, r, lora_alpha, lora_dropout, target_modules, use_rslora, use_dora, bias } = written;
    assert.deepEqual(
      { peft_type, task_type, r, lora_alpha, lora_dropout, target_modules, use_rslora, use_dora, bias },
      {
        peft_type: "LORA",
        task_type: "CAUSAL_LM",
        r: 5,
        lora_alpha: 7,
        lora_dropout: 0.25,
        target_modules: ["q_proj", "v_proj", "down_proj"],
        use_rslora: true,
        use_dora: true,
        bias: "none",
      },
    );
  }));

Deno.test("writeAdapter() says where it cannot write", () =>
  inTempFolder((dir) => {
    Deno.writeTextFileSync(`${dir}/file`, "");
    assert.throws(
      () => writeAdapter(`${dir}/file/adapter`, { settings, parameters: someParameters(), baseModel: "base" }),
      (error) => error instanceof UserError && error.message.includes(`${dir}/file/adapter`) && !!error.hint,
    );
  }));
