/**
 * Rotary embedding as config.json says it: rope_parameters (transformers 5), or rope_theta and rope_scaling. Problems go
 * to the fields of the whole configuration.
 */
import { type Fields, isObject, show } from "./config_fields.ts";
import type { Architecture, Rope, RopeScaling } from "./config.ts";
import { yarnAttentionFactor } from "./rope.ts";

type Json = Record<string, unknown>;

/** Rope of full and of sliding layers. */
export function ropes(fields: Fields, architecture: Architecture): { rope: Rope; ropeLocal: Rope } {
  const gemma = architecture === "gemma3";
  const parameters = fields.raw("rope_parameters");
  if (isObject(parameters)) {
    const perType = isObject(parameters.full_attention) || isObject(parameters.sliding_attention);
    const of = (type: string, theta: number) => {
      const object = perType ? parameters[type] : parameters;
      return ropeOf(isObject(object) ? object : {}, fields, { theta, where: "rope_parameters" });
    };
    return { rope: of("full_attention", gemma ? 1e6 : 1e4), ropeLocal: of("sliding_attention", 1e4) };
  }
  const theta = fields.positive("rope_theta", { fallback: gemma ? 1e6 : 1e4 });
  const scaling = fields.raw("rope_scaling");
  const rope = ropeOf(isObject(scaling) ? scaling : {}, fields, { theta, where: "rope_scaling" });
  if (!gemma) return { rope, ropeLocal: rope };
  return {
    rope,
    ropeLocal: { theta: fields.positive("rope_local_base_freq", { fallback: 1e4 }), scaling: { type: "none" } },
  };
}

function ropeOf(json: Json, fields: Fields, { theta: fallback, where }: { theta: number; where: string }): Rope {
  const own: Own = {
    json,
    problem: (what) => fields.problem(`${where}.${what}`),
    number(key, fallback) {
      const found = json[key] ?? fallback;
      if (typeof found === "number" && found > 0 && found < Infinity) return found;
      own.problem(`${key} is ${show(found)}, expected a number above 0`);
      return 1;
    },
    // Beside the others or, as some models write it, of the whole configuration.
    originalMaxPositions: () => {
      if (fields.has("original_max_position_embeddings")) return fields.count("original_max_position_embeddings");
      return own.number(
        "original_max_position_embeddings",
        fields.count("max_position_embeddings", { fallback: 2048 }),
      );
    },
    stretch: (original) => fields.count("max_position_embeddings", { fallback: 2048 }) / original,
  };
  const theta = own.number("rope_theta", fallback);
  if (json.partial_rotary_factor !== undefined && json.partial_rotary_factor !== 1) {
    own.problem(`partial_rotary_factor ${show(json.partial_rotary_factor)} is not supported`);
  }
  const type = json.rope_type ?? json.type ?? "default";
  if (typeof type === "string" && Object.hasOwn(scalings, type)) return { theta, scaling: scalings[type](own) };
  fields.problem(`rope type ${show(type)} is not supported (${Object.keys(scalings).join(", ")} are)`);
  return { theta, scaling: { type: "none" } };
}

interface Own {
  json: Json;
  problem(what: string): void;
  number(key: string, fallback?: number): number;
  originalMaxPositions(): number;
  /** How many times the model's context is the original one. */
  stretch(original: number): number;
}

const scalings: Record<string, (own: Own) => RopeScaling> = {
  default: () => ({ type: "none" }),
  linear: (own) => ({ type: "linear", factor: own.number("factor") }),
  dynamic(own) {
    own.number("factor");
    // transformers stretches a text only from the token on that is beyond max_position_embeddings, which is as far as
    // this program answers: up to there the factor changes nothing.
    return { type: "none" };
  },
  yarn(own) {
    const originalMaxPositions = own.originalMaxPositions();
    const factor = own.number("factor", own.stretch(originalMaxPositions));
    const { mscale, mscale_all_dim: all, truncate = true } = own.json;
    const derived = mscale && all
      ? yarnAttentionFactor(factor, own.number("mscale")) / yarnAttentionFactor(factor, own.number("mscale_all_dim"))
      : yarnAttentionFactor(factor);
    if (typeof truncate !== "boolean") own.problem(`truncate is ${show(truncate)}, expected a boolean`);
    return {
      type: "yarn",
      factor,
      originalMaxPositions,
      betaFast: own.number("beta_fast", 32),
      betaSlow: own.number("beta_slow", 1),
      attentionFactor: own.number("attention_factor", derived),
      truncate: truncate === true,
    };
  },
  llama3(own) {
    const scaling = {
      type: "llama3" as const,
      factor: own.number("factor"),
      lowFreqFactor: own.number("low_freq_factor"),
      highFreqFactor: own.number("high_freq_factor"),
      originalMaxPositions: own.originalMaxPositions(),
    };
    if (scaling.highFreqFactor <= scaling.lowFreqFactor) {
      own.problem(`high_freq_factor ${scaling.highFreqFactor} is not above low_freq_factor`);
    }
    return scaling;
  },
};
