/** What is read of one field of a row: text, JSON inside text, and words for a value that is neither. */
import { parseJson } from "../formats/json_depth.ts";

/** Errors: Error that names the field when it holds something else than text or nothing. */
export function readText(value: unknown, name: string): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") {
    throw new Error(`${name.startsWith('"') ? name : `"${name}"`} must be text, found ${describeValue(value)}`);
  }
  return value;
}

/** A list or an object, or the JSON text of one, as tables have to write it; other texts stay. */
export function readJsonText(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  try {
    return parseJson(value);
  } catch {
    return value;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function describeValue(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return `${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}
