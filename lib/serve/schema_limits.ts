/**
 * What a JSON schema may cost before a grammar is made of it: its size, its depth, and how often its parts repeat, since
 * a grammar has a rule for each repetition.
 */
import { ApiError } from "./api_error.ts";

const limits = { characters: 1 << 16, depth: 24, nodes: 4000, repetitions: 5000 };

/** The schema with objects closed that list their properties and say nothing of others. Errors: ApiError. */
export function boundedSchema(schema: Record<string, unknown>, param: string): Record<string, unknown> {
  const refuse = (what: string): never => {
    throw new ApiError(400, `${param}: the schema ${what}`, { param, code: "invalid_json_schema" });
  };
  if (JSON.stringify(schema).length > limits.characters) refuse(`has more than ${limits.characters} characters`);
  let nodes = 0;
  const visit = (node: unknown, { depth, repeated }: { depth: number; repeated: number }): unknown => {
    if (++nodes > limits.nodes) refuse(`has more than ${limits.nodes} parts`);
    if (depth > limits.depth) refuse(`is more than ${limits.depth} levels deep`);
    const inside = (value: unknown, times = 1) => visit(value, { depth: depth + 1, repeated: repeated * times });
    if (Array.isArray(node)) return node.map((value) => inside(value));
    if (!isObject(node)) return node;
    const times = Math.max(1, ...["maxItems", "minItems", "maxLength", "minLength"].map((key) => count(node[key])));
    const pattern = typeof node.pattern === "string" ? repetitionsOf(node.pattern) : 1;
    if (repeated * times * pattern > limits.repetitions) refuse(`repeats parts more than ${limits.repetitions} times`);
    const result: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(node)) {
      if (values.has(key)) result[key] = value;
      else if (maps.has(key) && isObject(value)) {
        result[key] = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, inside(part)]));
      } else result[key] = inside(value, key === "items" ? times : 1);
    }
    const open = node.additionalProperties === undefined && node.unevaluatedProperties === undefined;
    return isObject(node.properties) && open ? { ...result, additionalProperties: false } : result;
  };
  return visit(schema, { depth: 0, repeated: 1 }) as Record<string, unknown>;
}

/** Keys whose values are no schemas, and keys whose values have schemas under names of their own. */
const values = new Set(["enum", "const", "default", "examples", "required", "title", "description"]);
const maps = new Set(["properties", "patternProperties", "$defs", "definitions"]);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const count = (value: unknown) => typeof value === "number" && value > 0 ? value : 1;

/** At most so often does a pattern repeat its parts: the product of its counted repetitions. */
function repetitionsOf(pattern: string): number {
  if (pattern.length > 1000) return Infinity;
  return [...pattern.matchAll(/\{(\d*),?(\d*)\}/g)].reduce(
    (product, [, low, high]) => product * Math.max(1, Number(low), Number(high)),
    1,
  );
}
