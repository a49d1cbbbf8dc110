/**
 * Ranks and scales of an adapter's modules where adapter_config.json gives some of them their own (rank_pattern,
 * alpha_pattern). As in PEFT, a key is a regular expression for the end of a module's name, from a dot on, and the first
 * one that matches counts: "q_proj", "layers.0.mlp.down_proj".
 *
 * Source: https://github.com/huggingface/peft/blob/main/src/peft/utils/other.py get_pattern_key
 */
import { mayNeverEnd } from "../formats/patterns.ts";
import { loraScale, type LoraSettings } from "./adapter.ts";
import { type Fields, isObject, show } from "./config_fields.ts";

export interface AdapterScaling {
  /** Rank of a module: "model.layers.0.self_attn.q_proj". */
  rankOf(module: string): number;
  /** Factor of its B*A. */
  scaleOf(module: string): number;
}

/** Both patterns; problems go to the fields. */
export function readScaling(
  fields: Fields,
  settings: Pick<LoraSettings, "r" | "lora_alpha" | "use_rslora">,
): AdapterScaling {
  const isRank = (value: number) => Number.isInteger(value) && value <= 1 << 16;
  const ranks = readPattern(fields, "rank_pattern", isRank), alphas = readPattern(fields, "alpha_pattern", () => true);
  const first = (pattern: Pattern, module: string) => pattern.find(([key]) => key.test(module))?.[1];
  const rankOf = (module: string) => first(ranks, module) ?? settings.r;
  return {
    rankOf,
    scaleOf(module) {
      const lora_alpha = first(alphas, module) ?? settings.lora_alpha;
      return loraScale({ r: rankOf(module), lora_alpha, use_rslora: settings.use_rslora });
    },
  };
}

type Pattern = [key: RegExp, value: number][];

function readPattern(fields: Fields, name: string, valid: (value: number) => boolean): Pattern {
  const found = fields.raw(name) ?? {};
  if (!isObject(found)) {
    fields.problem(`${name} is ${show(found)}, expected names with numbers`);
    return [];
  }
  return Object.entries(found).flatMap(([key, value]): Pattern => {
    if (typeof value !== "number" || !(value > 0 && value < Infinity && valid(value))) {
      fields.problem(`${name} gives ${show(key)} ${show(value)}`);
      return [];
    }
    try {
      if (key.length > 200 || mayNeverEnd(key)) throw new SyntaxError();
      return [[new RegExp(`^(?:.*\\.)?(?:${key})$`), value]];
    } catch {
      fields.problem(`${name} has the key ${show(key)}, which is not supported as a pattern`);
      return [];
    }
  });
}
