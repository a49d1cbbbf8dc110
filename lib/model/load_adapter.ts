/**
 * Reads a PEFT LoRA adapter (adapter_config.json, adapter_model.safetensors) for a given base model, for inference or
 * as the start of more training. What PEFT can say and this program does not compute is refused by name.
 *
 * Modules with a rank or alpha of their own (rank_pattern, alpha_pattern) come out as one adapter of the largest rank:
 * rows of A and columns of B that a module lacks are 0, and so are their gradients for good; a scale of its own is
 * multiplied into its B. Where target_modules is a pattern, or layers_to_transform names some layers, the modules left out
 * have A and B of 0 in the same way.
 */
import { UserError } from "../errors.ts";
import { openSafetensors, type TensorFile } from "../formats/safetensors.ts";
import { elementCount } from "../formats/tensor_file.ts";
import { toFloat32 } from "../quant/decode.ts";
import { loraScale, type LoraSettings, type ParameterPlace, parameterPlaces } from "./adapter.ts";
import { type AdapterScaling, readScaling } from "./adapter_patterns.ts";
import type { ModelConfig } from "./config.ts";
import { type Fields, isObject, readFields, show } from "./config_fields.ts";
import { kindOfPath, openTensors, readJson } from "./model_files.ts";
import { moduleName, parsePeftName, peftName, type Projection, projections } from "./names.ts";
import type { Parameter } from "./trainable.ts";

export interface LoadedAdapter {
  /** `r` and `lora_alpha` are those of the one adapter that comes out. */
  settings: LoraSettings;
  /** As makeParameters lists them, gradients zero. */
  parameters: Parameter[];
  /** base_model_name_or_path, or null. */
  baseModel: string | null;
}

/** The adapter in `folder`. UserError when it does not fit the model, is damaged, or is of a kind not supported. */
export function loadAdapter(folder: string, config: ModelConfig): LoadedAdapter {
  const { json, path } = readAdapterConfig(folder);
  const fields = readFields((key) => json[key], { source: path });
  refuseUnsupported(fields);
  // Another kind of adapter is called by its name before its tensors are looked for.
  const hint = "train or export the adapter with plain LoRA settings";
  fields.finish({ hint });
  const file = openAdapterTensors(folder);
  try {
    const places = placesIn(file);
    const used = projections.filter((projection) =>
      [...places.values()].some((place) => place.projection === projection)
    );
    const own = readSettings(fields, used);
    const scaling = readScaling(fields, own);
    fields.finish({ hint });
    if (used.length === 0) throw new UserError(`${file.source} holds no LoRA tensors`);
    const ranks = Array.from(places.values(), ({ layer, projection }) => scaling.rankOf(moduleName(layer, projection)));
    const r = ranks.reduce((largest, rank) => Math.max(largest, rank), 1);
    const settings = { ...own, r, lora_alpha: own.lora_alpha * (loraScale(own) / loraScale({ ...own, r })) };
    return {
      settings,
      parameters: readParameters(file, { config, settings, scaling, places, partial: isPartial(fields) }),
      baseModel: baseModelOf(json),
    };
  } finally {
    file.close();
  }
}

/** Name or path of the base model that the adapter in `folder` was made on, or null. */
export function adapterBaseModel(folder: string): string | null {
  return baseModelOf(readAdapterConfig(folder).json);
}

function baseModelOf({ base_model_name_or_path: base }: Record<string, unknown>): string | null {
  return typeof base === "string" && base !== "" ? base : null;
}

function readAdapterConfig(folder: string): { json: Record<string, unknown>; path: string } {
  const path = `${folder}/adapter_config.json`;
  if (kindOfPath(path) !== "file") {
    throw new UserError(`Cannot find ${path}`, {
      hint: "an adapter is a folder with adapter_config.json and adapter_model.safetensors, as training writes it",
    });
  }
  const json = readJson(path);
  if (!isObject(json)) throw new UserError(`${path}: expected a JSON object, found ${show(json)}`);
  return { json, path };
}

function openAdapterTensors(folder: string) {
  const path = `${folder}/adapter_model.safetensors`;
  if (kindOfPath(path) !== "file" && kindOfPath(`${folder}/adapter_model.bin`) === "file") {
    throw new UserError(`Cannot read ${folder}/adapter_model.bin: only adapter_model.safetensors is read`, {
      hint: "load the adapter in PEFT and save it again with save_pretrained(), which writes safetensors",
    });
  }
  return openTensors(path, openSafetensors);
}

/** Times as many numbers as the file holds, where modules lack an adapter or have a smaller one; so many are no matter. */
const mostWidening = 64, alwaysTaken = 1 << 24;

type Place = NonNullable<ReturnType<typeof parsePeftName>>;

/** Which parameter each of the file's tensors is. */
function placesIn(file: TensorFile): Map<string, Place> {
  return new Map(Array.from(file.tensors.keys(), (name) => {
    const place = parsePeftName(name);
    if (place) return [name, place];
    throw new UserError(`Tensor "${name}" in ${file.source} is not supported`, {
      hint: `LoRA on ${projections.join(", ")} is`,
    });
  }));
}

/** Whether the adapter may leave out some layers' modules: PEFT saves every one that it has. */
function isPartial(fields: Fields): boolean {
  const targets = fields.raw("target_modules");
  return fields.has("layers_to_transform") || (typeof targets === "string" && targets !== "all-linear");
}

function refuseUnsupported(fields: Fields): void {
  const type = fields.raw("peft_type");
  if (type !== undefined && type !== "LORA") fields.problem(`peft_type ${show(type)} is not supported, LORA is`);
  const isEmpty = (value: unknown) =>
    value === false || (typeof value === "object" && Object.keys(value as object).length === 0);
  const refuse = (key: string, harmless: (value: unknown) => boolean = isEmpty) => {
    if (fields.has(key) && !harmless(fields.raw(key))) {
      fields.problem(`${key} ${show(fields.raw(key))} is not supported`);
    }
  };
  // fan_in_fan_out is of base weights that lie transposed; PEFT itself ignores it on linear layers.
  refuse("bias", (value) => value === "none");
  for (const key of ["modules_to_save", "target_parameters", "trainable_token_indices", "layer_replication"]) {
    refuse(key);
  }
  for (const key of ["lora_bias", "use_qalora", "alora_invocation_tokens", "use_bdlora", "arrow_config"]) refuse(key);
  for (const key of ["kasa_config", "monteclora_config"]) refuse(key);
  // These change the base model's weights, which the adapter's files do not hold.
  refuse(
    "init_lora_weights",
    (value) => typeof value !== "string" || !/^(pissa|olora|loftq|corda|lora_ga)/.test(value),
  );
}

function readSettings(fields: Fields, used: Projection[]): LoraSettings {
  const init = fields.raw("init_lora_weights") ?? true;
  return {
    r: fields.count("r", { fallback: 8, max: 1 << 16 }),
    lora_alpha: fields.positive("lora_alpha", { fallback: 8 }),
    lora_dropout: fields.has("lora_dropout") && fields.raw("lora_dropout") !== 0
      ? fields.positive("lora_dropout", { below: 1 })
      : 0,
    use_rslora: fields.flag("use_rslora", { fallback: false }),
    use_dora: fields.flag("use_dora", { fallback: false }),
    target_modules: used,
    init_lora_weights: init === "gaussian" || init === "hash" ? init : true,
    seed: 0,
  };
}

function readParameters(
  file: TensorFile,
  { config, settings, scaling, places, partial }: {
    config: ModelConfig;
    settings: LoraSettings;
    scaling: AdapterScaling;
    places: Map<string, Place>;
    partial: boolean;
  },
): Parameter[] {
  const stored = new Map(
    Array.from(places, ([name, { layer, projection, part }]) => [peftName(layer, projection, part), name]),
  );
  const reached = new Set(Array.from(places.values(), ({ layer, projection }) => moduleName(layer, projection)));
  // All shapes are checked before any memory is taken.
  const found = parameterPlaces(config, settings).map((place) => {
    const { layer, projection, part } = place, name = peftName(layer, projection, part);
    const module = moduleName(layer, projection), rank = scaling.rankOf(module), own = stored.get(name);
    stored.delete(name);
    if (own !== undefined) checkShape(file, { name: own, shape: ownShape(place, rank) });
    // DoRA's magnitude of a module without adapter would be the norm of its weight's rows.
    else if (!partial || reached.has(module) || settings.use_dora) {
      throw new UserError(`Cannot find tensor "${name}" in ${file.source}, which has ${file.tensors.size}`, {
        hint: `the base model has ${config.layers} layers: an adapter must reach all of them, with A and B`,
      });
    }
    const factor = part === "lora_B" ? scaling.scaleOf(module) / loraScale(settings) : 1;
    return { name, place, own, rank, factor };
  });
  const [left] = stored.values();
  if (left !== undefined) {
    throw new UserError(`Tensor "${left}" in ${file.source} has no place in a model of ${config.layers} layers`, {
      hint: "the adapter was trained on another base model",
    });
  }
  const taken = found.reduce((sum, { place }) => sum + elementCount(place.shape), 0);
  const held = found.reduce((sum, { own }) => sum + (own ? elementCount(file.tensors.get(own)!.shape) : 0), 0);
  if (taken > mostWidening * held + alwaysTaken) {
    throw new UserError(
      `${file.source} holds ${held} numbers and would take ${taken} at rank ${settings.r}, the largest of its modules`,
      { hint: "train or save the adapter with one rank for all modules" },
    );
  }
  return found.map(({ name, own, ...how }): Parameter => {
    const { shape } = how.place, count = elementCount(shape);
    const value = own === undefined ? new Float32Array(count) : widened(readTensor(file, own), how);
    return { name, shape, value, grad: new Float32Array(count) };
  });
}

/** The shape of a parameter whose module has a rank of its own. */
function ownShape({ part, shape }: ParameterPlace, rank: number): number[] {
  return part === "lora_A" ? [rank, shape[1]!] : part === "lora_B" ? [shape[0], rank] : [...shape];
}

function checkShape(file: TensorFile, { name, shape }: { name: string; shape: number[] }): void {
  const found = file.tensors.get(name)!.shape;
  if (found.length !== shape.length || found.some((size, i) => size !== shape[i])) {
    throw new UserError(
      `Tensor "${name}" in ${file.source} has shape [${found.join(", ")}], expected [${shape.join(", ")}]`,
      { hint: "the adapter was trained on another base model, or its r is not what adapter_config.json says" },
    );
  }
}

function readTensor(file: TensorFile, name: string): Float32Array<ArrayBuffer> {
  const { dtype, shape } = file.tensors.get(name)!;
  const value = toFloat32(file.bytes(name), { dtype, count: elementCount(shape), name });
  const bad = value.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new UserError(`Tensor "${name}" in ${file.source} holds ${value[bad]} at element ${bad}`);
  return value;
}

/** A parameter of rank `rank` in the place of one of a larger rank, the rest 0, times `factor`. */
function widened(
  own: Float32Array<ArrayBuffer>,
  { place: { part, shape }, rank, factor }: { place: ParameterPlace; rank: number; factor: number },
): Float32Array {
  if (factor !== 1) { for (let i = 0; i < own.length; i++) own[i] *= factor; }
  const count = elementCount(shape);
  if (own.length === count) return own;
  const value = new Float32Array(count);
  if (part === "lora_A") value.set(own); // [rank, I]: the first rows
  else for (let o = 0; o < shape[0]; o++) value.set(own.subarray(o * rank, (o + 1) * rank), o * shape[1]!);
  return value;
}
