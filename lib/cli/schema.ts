/**
 * From the table of options to checks: a zod schema per option whose messages say what was expected and what was given,
 * and the parsing of a flag's text. A source of settings (flags, a file, a preset) is checked whole, so that all its
 * problems are reported at once.
 */
import { z } from "zod";
import { nearest } from "../errors.ts";
import type { OptionSpec } from "./option_spec.ts";
import { flagOf } from "./options.ts";
import { otherNames } from "./other_names.ts";

/** What an option takes, in words: "a whole number, at least 1". */
export function describe(spec: OptionSpec): string {
  switch (spec.type) {
    case "string":
      return "text";
    case "boolean":
      return "true or false";
    case "integer":
    case "number":
    case "number or auto": {
      const kind = spec.type === "integer" ? "a whole number" : "a number";
      const low = spec.min === undefined ? "" : `, at least ${spec.min}`;
      const high = spec.max === undefined ? "" : `, at most ${spec.max}`;
      return kind + low + high + (spec.type === "number or auto" ? ", or auto" : "");
    }
    case "choice":
      return `one of ${spec.choices.join(", ")}`;
    case "list":
      return `a list of ${spec.choices.join(", ")}`;
    case "texts":
      return "a list of texts";
  }
}

/** The schema of one option's value, as YAML or a parsed flag gives it. */
function schemaOf(spec: OptionSpec): z.ZodType {
  const error = { error: (issue: { input?: unknown }) => `expected ${describe(spec)}, got ${show(issue.input)}` };
  switch (spec.type) {
    case "string":
      return spec.default === null ? z.string(error).min(1, error).nullable() : z.string(error).min(1, error);
    case "boolean":
      return z.boolean(error);
    case "integer":
    case "number":
    case "number or auto": {
      let number = z.number(error);
      if (spec.type === "integer") number = number.int(error);
      if (spec.min !== undefined) number = number.min(spec.min, error);
      if (spec.max !== undefined) number = number.max(spec.max, error);
      return spec.type === "number or auto" ? z.union([z.literal("auto"), number], error) : number;
    }
    case "choice": {
      // YAML reads the word true as a boolean.
      const word = z.preprocess(
        (value) => typeof value === "boolean" ? String(value) : value,
        z.enum(spec.choices, error),
      );
      return word;
    }
    case "list":
      return z.array(z.enum(spec.choices, error), error);
    case "texts":
      // One text needs no brackets in a file; runs of earlier versions have null for none.
      return z.preprocess(
        (value) => typeof value === "string" ? [value] : value === null ? [] : value,
        z.array(z.string(error).min(1, error), error),
      );
  }
}

/**
 * Checks the settings of one source. `place` says where a key was written ("--seed", "run.yaml:3: seed"). Returns the
 * values that are right and a line for each that is not; an unknown key names the nearest known one.
 */
export function checkValues(
  values: Record<string, unknown>,
  { specs, place }: { specs: [string, OptionSpec][]; place: (key: string) => string },
): { values: Record<string, unknown>; problems: string[] } {
  const schema = z.strictObject(Object.fromEntries(specs.map(([name, spec]) => [name, schemaOf(spec).optional()])));
  const result = schema.safeParse(values);
  if (result.success) return { values: result.data, problems: [] };

  const problems: string[] = [];
  const good = { ...values };
  for (const issue of result.error.issues) {
    if (issue.code === "unrecognized_keys") {
      for (const key of issue.keys) {
        problems.push(`${place(key)}: unknown setting${suggestion(key, specs.map(([name]) => name))}`);
        delete good[key];
      }
    } else {
      const key = String(issue.path[0]);
      problems.push(`${place(key)}: ${issue.message}`);
      delete good[key];
    }
  }
  // The good ones as the schema makes them: a list that is left empty in a file is null there.
  return { values: schema.safeParse(good).data ?? {}, problems };
}

/** ", did you mean x?" or nothing. */
export function suggestion(word: string, known: string[]): string {
  if (word === "") return "";
  const name = word.replace(/^-+/, "").replaceAll("-", "_").toLowerCase();
  const near = known.find((own) => otherNames[own]?.split(" ").includes(name)) ?? nearest(name, known);
  if (!near) return "";
  return `, did you mean ${word.startsWith("-") ? flagOf(near) : near}?`;
}

/** The value a flag's text stands for; text that does not fit is left as it is, for the schema to refuse. */
export function parseFlag(text: string, spec: OptionSpec): unknown {
  switch (spec.type) {
    case "number or auto":
      // "24GiB" where a flag counts GiB.
      if (spec.unit && text.toLowerCase().endsWith(spec.unit.toLowerCase())) {
        return parseFlag(text.slice(0, -spec.unit.length).trim(), { ...spec, unit: undefined });
      }
      // falls through
    case "integer":
    case "number":
      return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : text;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : text;
    case "list":
      return text.split(",").map((part) => part.trim()).filter((part) => part !== "");
    default:
      return text;
  }
}

function show(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (typeof value === "number") return String(value);
  const text = JSON.stringify(value);
  return text.length > 60 ? text.slice(0, 60) + "..." : text;
}
