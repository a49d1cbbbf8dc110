/**
 * Reads a PEFT LoRA adapter (adapter_config.json, adapter_model.safetensors) for a given base model, for inference or
 * as the start of more training. What PEFT can say and this program does not compute is refused by name.
 */
import { UserError } from "../errors.ts";
import { openSafetensors, type TensorFile } from "../formats/safetensors.ts";
import { elementCount } from "../formats/tensor_file.ts";
import { toFloat32 } from "../quant/decode.ts";
import { type LoraSettings, parameterPlaces } from "./adapter.ts";
import type { ModelConfig } from "./config.ts";
import { type Fields, isObject, readFields, show } from "./config_fields.ts";
import { kindOfPath, openTensors, readJson } from "./model_files.ts";
import { parsePeftName, peftName, type Projection, projections } from "./names.ts";
import type { Parameter } from "./trainable.ts";

export interface LoadedAdapter {
  settings: LoraSettings;
  /** As makeParameters lists them, gradients zero. */
  parameters: Parameter[];
  /** base_model_name_or_path, or null. */
  baseModel: string | null;
}

/** The adapter in `folder`. UserError when it does not fit the model, is damaged, or is of a kind not supported. */
export function loadAdapter(folder: string, config: ModelConfig): LoadedAdapter {
  const path = `${folder}/adapter_config.json`;
  if (kindOfPath(path) !== "file") {
    throw new UserError(`Cannot find ${path}`, {
      hint: "an adapter is a folder with adapter_config.json and adapter_model.safetensors, as training writes it",
    });
  }
  const json = readJson(path);
  if (!isObject(json)) throw new UserError(`${path}: expected a JSON object, found ${show(json)}`);
  const fields = readFields((key) => json[key], { source: path });
  const file = openTensors(`${folder}/adapter_model.safetensors`, openSafetensors);
  try {
    const settings = readSettings(fields, usedModules(file));
    fields.finish({ hint: "train or export the adapter with plain LoRA settings" });
    const base = json.base_model_name_or_path;
    return {
      settings,
      parameters: readParameters(file, { config, settings }),
      baseModel: typeof base === "string" ? base : null,
    };
  } finally {
    file.close();
  }
}

/** Which projections the file's tensors belong to; target_modules may be a pattern. */
function usedModules(file: TensorFile): Projection[] {
  const used = new Set<Projection>();
  for (const name of file.tensors.keys()) {
    const place = parsePeftName(name);
    if (!place) {
      throw new UserError(`Tensor "${name}" in ${file.source} is not supported`, {
        hint: `LoRA on ${projections.join(", ")} is`,
      });
    }
    used.add(place.projection);
  }
  return projections.filter((projection) => used.has(projection));
}

function readSettings(fields: Fields, used: Projection[]): LoraSettings {
  const type = fields.raw("peft_type");
  if (type !== undefined && type !== "LORA") fields.problem(`peft_type ${show(type)} is not supported, LORA is`);
  const refuse = (key: string, harmless: (value: unknown) => boolean = () => false) => {
    if (fields.has(key) && !harmless(fields.raw(key))) {
      fields.problem(`${key} ${show(fields.raw(key))} is not supported`);
    }
  };
  const isEmpty = (value: unknown) => value === false || Object.keys(value as object).length === 0;
  refuse("bias", (value) => value === "none");
  for (const key of ["fan_in_fan_out", "lora_bias", "use_qalora", "alora_invocation_tokens"]) refuse(key, isEmpty);
  for (const key of ["rank_pattern", "alpha_pattern", "modules_to_save", "target_parameters"]) refuse(key, isEmpty);
  refuse("trainable_token_indices", isEmpty);
  const init = fields.raw("init_lora_weights") ?? true;
  // These change the base model's weights, which the adapter's files do not hold.
  refuse(
    "init_lora_weights",
    (value) => typeof value !== "string" || !/^(pissa|olora|loftq|corda|lora_ga)/.test(value),
  );
  return {
    r: fields.count("r", { fallback: 8, max: 1 << 16 }),
    lora_alpha: fields.positive("lora_alpha", { fallback: 8 }),
    lora_dropout: fields.has("lora_dropout") && fields.raw("lora_dropout") !== 0 ? fields.positive("lora_dropout") : 0,
    use_rslora: fields.flag("use_rslora", { fallback: false }),
    use_dora: fields.flag("use_dora", { fallback: false }),
    target_modules: used,
    init_lora_weights: init === "gaussian" || init === "hash" ? init : true,
    seed: 0,
  };
}

function readParameters(
  file: TensorFile,
  { config, settings }: { config: ModelConfig; settings: LoraSettings },
): Parameter[] {
  const stored = new Map(Array.from(file.tensors.keys(), (name) => {
    const { layer, projection, part } = parsePeftName(name)!;
    return [peftName(layer, projection, part), name];
  }));
  const places = parameterPlaces(config, settings);
  if (places.length === 0) throw new UserError(`${file.source} holds no LoRA tensors`);
  const parameters = places.map(({ layer, projection, part, shape }): Parameter => {
    const name = peftName(layer, projection, part), found = stored.get(name);
    if (found === undefined) {
      throw new UserError(`Cannot find tensor "${name}" in ${file.source}, which has ${file.tensors.size}`, {
        hint: `the base model has ${config.layers} layers: an adapter must reach all of them, with A and B`,
      });
    }
    stored.delete(name);
    const info = file.tensors.get(found)!;
    if (info.shape.length !== shape.length || info.shape.some((size, i) => size !== shape[i])) {
      throw new UserError(
        `Tensor "${found}" in ${file.source} has shape [${info.shape.join(", ")}], expected [${shape.join(", ")}]`,
        { hint: "the adapter was trained on another base model, or its r is not what adapter_config.json says" },
      );
    }
    const count = elementCount(shape);
    const value = toFloat32(file.bytes(found), { dtype: info.dtype, count, name: found });
    const bad = value.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0) throw new UserError(`Tensor "${found}" in ${file.source} holds ${value[bad]} at element ${bad}`);
    return { name, shape, value, grad: new Float32Array(count) };
  });
  const [left] = stored.values();
  if (left !== undefined) {
    throw new UserError(`Tensor "${left}" in ${file.source} has no place in a model of ${config.layers} layers`, {
      hint: "the adapter was trained on another base model",
    });
  }
  return parameters;
}
