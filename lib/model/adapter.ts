/**
 * LoRA on a model: which parameters there are, their first values, and their scale. Not the adapter's files
 * (lib/export/peft.ts writes them, load_adapter.ts reads them) and not what they compute (forward.ts).
 *
 * Every random initial value is a function of seed, module and index alone: the same on every machine, whatever the
 * order of making.
 */
import type { Executor, Value } from "../ops.ts";
import type { ModelConfig } from "./config.ts";
import { lowbias32 } from "./hash.ts";
import type { LoadedWeights } from "./weights.ts";
import { type LoraPart, peftMemoryName, peftName, type Projection, projections, projectionShape } from "./names.ts";
import type { Parameter } from "./trainable.ts";

/** PEFT's names. */
export interface LoraSettings {
  r: number;
  lora_alpha: number;
  lora_dropout: number;
  use_rslora: boolean;
  use_dora: boolean;
  target_modules: Projection[];
  /**
   * How A starts; B starts at 0. true: uniform in +-1/sqrt(inputs) (PEFT's kaiming_uniform with a = sqrt(5));
   * "gaussian": normal with deviation 1/r; "hash": uniform in +-1/sqrt(inputs) by the formula of `hashUniform`.
   */
  init_lora_weights: true | "gaussian" | "hash";
  seed: number;
}

/** Factor of B*A: alpha/r, or alpha/sqrt(r) with rsLoRA. */
export function loraScale(settings: Pick<LoraSettings, "r" | "lora_alpha" | "use_rslora">): number {
  return settings.lora_alpha / (settings.use_rslora ? Math.sqrt(settings.r) : settings.r);
}

/** A parameter's place in the model. */
export interface ParameterPlace {
  layer: number;
  projection: Projection;
  part: LoraPart;
  shape: [number, number] | [number];
}

/** Where LoRA attaches, layer by layer, A [r, I] before B [O, r] before DoRA's magnitude [O]. */
export function parameterPlaces(
  config: ModelConfig,
  settings: Pick<LoraSettings, "r" | "use_dora" | "target_modules">,
): ParameterPlace[] {
  const { r, use_dora, target_modules } = settings;
  const targets = projections.filter((projection) => target_modules.includes(projection));
  return Array.from({ length: config.layers }, (_, layer) =>
    targets.flatMap((projection): ParameterPlace[] => {
      const [O, I] = projectionShape(config, projection);
      const place = (part: LoraPart, shape: ParameterPlace["shape"]) => ({ layer, projection, part, shape });
      return [
        place("lora_A", [r, I]),
        place("lora_B", [O, r]),
        ...(use_dora ? [place("lora_magnitude_vector", [O])] : []),
      ];
    })).flat();
}

/**
 * The parameters with their first values and zero gradients. DoRA's magnitudes are still 0: initMagnitudes sets them
 * from the weights.
 */
export function makeParameters(config: ModelConfig, settings: LoraSettings): Parameter[] {
  const places = parameterPlaces(config, settings);
  const hashOrder = new Map(
    places.filter(({ part }) => part === "lora_A")
      .map(({ layer, projection }) => peftMemoryName(layer, projection, "lora_A")).sort()
      .map((name, k) => [name, k]),
  );
  return places.map(({ layer, projection, part, shape }) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const parameter: Parameter = {
      name: peftName(layer, projection, part),
      shape,
      value: new Float32Array(count),
      grad: new Float32Array(count),
    };
    if (part === "lora_A") {
      const inputs = shape[1]!, k = hashOrder.get(peftMemoryName(layer, projection, part))!;
      fill(parameter.value, { settings, inputs, k });
    }
    return parameter;
  });
}

function fill(a: Float32Array, { settings, inputs, k }: { settings: LoraSettings; inputs: number; k: number }): void {
  const { init_lora_weights: init, seed, r } = settings;
  const bound = 1 / Math.sqrt(inputs);
  if (init === "hash") { for (let i = 0; i < a.length; i++) a[i] = hashUniform({ seed, k, i }) / Math.sqrt(inputs); }
  else if (init === "gaussian") {
    // Box and Muller: two uniform numbers for each normal one.
    for (let i = 0; i < a.length; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform({ seed, k, i: 2 * i })));
      a[i] = radius * Math.cos(2 * Math.PI * uniform({ seed, k, i: 2 * i + 1 })) / r;
    }
  } else for (let i = 0; i < a.length; i++) a[i] = (2 * uniform({ seed, k, i }) - 1) * bound;
}

/**
 * In [-1, 1): x = (i + seed*0x9E3779B9 + k*0x85EBCA6B) mod 2^32, mixed by "lowbias32" with the multipliers below, then
 * x/2^31 - 1. i is the element's index, k the module's among the names of all A's in a PEFT model, sorted as strings.
 * Meant for starting two programs from equal numbers; neighbouring seeds overlap, so it is not the default.
 */
export function hashUniform({ seed, k, i }: { seed: number; k: number; i: number }): number {
  return lowbias32(i + Math.imul(seed, 0x9e3779b9) + Math.imul(k, 0x85ebca6b)) / 2 ** 31 - 1;
}

/** In [0, 1), steps of 2^-32: the index hashed under a key that is itself a hash of seed and module. */
function uniform({ seed, k, i }: { seed: number; k: number; i: number }): number {
  const key = lowbias32(lowbias32(seed) + Math.imul(k + 1, 0x9e3779b9));
  return lowbias32(lowbias32(i) ^ key) / 2 ** 32;
}

/** Norm of each row of W + scale*B*A, for DoRA. */
export async function adaptedNorm(
  executor: Executor,
  { weight, a, b, scale }: { weight: Value; a: Value; b: Value; scale: number },
): Promise<Value> {
  const { norm } = await executor.run({
    key: `adapted_row_norm|${scale}|${weight.shape}`,
    build: (ops, { weight, a, b }) => ({ norm: ops.adaptedRowNorm(weight, a, b, { scale }) }),
  }, { weight, a, b });
  return norm;
}

export interface AdapterContext {
  executor: Executor;
  weights: LoadedWeights;
  config: ModelConfig;
  settings: LoraSettings;
}

/**
 * Sets DoRA's magnitudes to what leaves the model as it is: the norms of the rows of W + scale*B*A, as PEFT does.
 * Does nothing without DoRA.
 */
export async function initMagnitudes(parameters: Parameter[], context: AdapterContext): Promise<void> {
  if (!context.settings.use_dora) return;
  const { executor, config, settings } = context;
  const adapter = await attachAdapter(parameters, context);
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  for (const { layer, projection, part } of parameterPlaces(config, settings)) {
    if (part !== "lora_magnitude_vector") continue;
    const norm = adapter.layers[layer][`${projection}.norm`];
    byName.get(peftName(layer, projection, part))!.value.set(await executor.read(norm));
    executor.release(norm);
  }
}

/** What the layers' call lists name a parameter: "q_proj.lora_A", "q_proj.magnitude". */
export function inputName(projection: Projection, part: LoraPart): string {
  return `${projection}.${part === "lora_magnitude_vector" ? "magnitude" : part}`;
}

/** An adapter as forward.ts takes it: values beside each layer's weights, and the factor of B*A. */
export interface AttachedAdapter {
  /** Keys "q_proj.lora_A", "q_proj.lora_B", with DoRA "q_proj.magnitude" and "q_proj.norm". */
  layers: Record<string, Value>[];
  scale: number;
}

/**
 * The parameters as values that share their memory. DoRA's norms are of the parameters as they are now: attach again
 * after changing them.
 */
export async function attachAdapter(parameters: Parameter[], context: AdapterContext): Promise<AttachedAdapter> {
  const { executor, weights, config, settings } = context;
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const scale = loraScale(settings);
  const layers = Array.from({ length: config.layers }, (): Record<string, Value> => ({}));
  for (const { layer, projection, part } of parameterPlaces(config, settings)) {
    const { value, shape } = byName.get(peftName(layer, projection, part))!;
    layers[layer][inputName(projection, part)] = executor.tensor(value, shape);
    if (part !== "lora_magnitude_vector") continue;
    const { [`${projection}.lora_A`]: a, [`${projection}.lora_B`]: b } = layers[layer];
    const weight = weights.layers[layer][projection];
    layers[layer][`${projection}.norm`] = await adaptedNorm(executor, { weight, a, b, scale });
  }
  return { layers, scale };
}
