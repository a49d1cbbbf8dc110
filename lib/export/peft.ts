/**
 * Writes an adapter folder as PEFT does (adapter_config.json, adapter_model.safetensors), for PEFT, vLLM and others.
 * Reading one is lib/model/adapter.ts. Fields: https://github.com/huggingface/peft/blob/main/src/peft/tuners/lora/config.py
 */
import { writeAllAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import type { LoraSettings } from "../model/adapter.ts";
import { lazyTensor } from "./encode.ts";

/** What a run's adapter is; how it was started does not matter any more. */
type Settings = Omit<LoraSettings, "init_lora_weights" | "seed">;

export interface AdapterExport {
  settings: Settings;
  /** By PEFT's saved names, f32. */
  parameters: readonly { name: string; shape: readonly number[]; value: Float32Array }[];
  /** Name or path of the base model, for adapter_config.json. */
  baseModel: string;
  /** Branch, tag or commit of the base model on its hub, where one was named. */
  revision?: string;
}

/** Writes the folder, making it where it is missing. The configuration comes last: a folder that has it is whole. */
export function writeAdapter(dir: string, { settings, parameters, baseModel, revision }: AdapterExport): void {
  makeFolder(dir);
  const tensors = [...parameters]
    .sort((a, b) => a.name < b.name ? -1 : 1)
    .map(({ name, shape, value }) => lazyTensor({ name, shape, dtype: "F32" }, () => value));
  const config = JSON.stringify(adapterConfig(settings, { baseModel, revision }), null, 2) + "\n";
  writeAllAtomic([
    { path: `${dir}/adapter_config.json`, chunks: [new TextEncoder().encode(config)] },
    { path: `${dir}/adapter_model.safetensors`, chunks: writeSafetensors(tensors, { format: "pt" }) },
  ]);
}

/** The content of adapter_config.json. */
export function adapterConfig(
  settings: Settings,
  { baseModel, revision = null }: { baseModel: string; revision?: string | null },
): Record<string, unknown> {
  return {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: baseModel,
    bias: "none",
    exclude_modules: null,
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true, // Of a trained adapter only PEFT's own initialisers matter, and a reader may refuse others.
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    loftq_config: {},
    lora_alpha: settings.lora_alpha,
    lora_dropout: settings.lora_dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: settings.r,
    rank_pattern: {},
    revision,
    target_modules: [...settings.target_modules],
    task_type: "CAUSAL_LM",
    use_dora: settings.use_dora,
    use_rslora: settings.use_rslora,
  };
}
