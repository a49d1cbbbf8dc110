/**
 * The adapter that training goes on from (`init_adapter`): its A and B are the first values, and what it is (rank, scale,
 * modules) takes the place of the settings that would make a new one. Where a person gave one of these, it must be the
 * adapter's.
 */
import { UserError } from "../errors.ts";
import { loadAdapter } from "../model/load_adapter.ts";
import type { ModelSource } from "../model/source.ts";
import type { Parameter } from "../model/trainable.ts";
import { warnOfOtherBase } from "./other_base.ts";
import { isGiven, type Resolved } from "./resolve.ts";
import { lookUp, noAdapter } from "./saved_run.ts";

/** Settings that an adapter brings along. */
const fixed = ["r", "lora_alpha", "use_rslora", "use_dora", "target_modules"] as const;

/** The first values, and the settings with the adapter's. UserError when it does not fit the model or what was given. */
export function initialAdapter(
  { settings, sources }: Resolved,
  { named, source }: { named: string; source: ModelSource },
): { settings: Resolved["settings"]; parameters: Parameter[] } {
  const { adapter } = lookUp(named, { base: settings.model });
  if (adapter === null) throw noAdapter(named, "--init-adapter");
  warnOfOtherBase(adapter, { model: settings.model, name: source.config.name });
  const { settings: own, parameters } = loadAdapter(adapter, source.config);
  const shown = (value: unknown) => Array.isArray(value) ? value.toSorted().join(",") : String(value);
  const others = fixed.filter((name) => isGiven(sources[name]) && shown(settings[name]) !== shown(own[name]));
  if (others.length > 0) {
    const list = others.map((name) => `${name} ${shown(own[name])}, not ${shown(settings[name])}`).join("; ");
    throw new UserError(`init_adapter: ${named} has ${list}`, {
      hint: "leave these settings out: they are the adapter's",
      exitCode: 2,
    });
  }
  const { r, lora_alpha, use_rslora, use_dora, target_modules } = own;
  const lora_dropout = isGiven(sources.lora_dropout) ? settings.lora_dropout : own.lora_dropout;
  return { settings: { ...settings, r, lora_alpha, use_rslora, use_dora, target_modules, lora_dropout }, parameters };
}
