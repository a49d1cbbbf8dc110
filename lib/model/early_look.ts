/**
 * Judges a model by what is fetched first of it, its config.json or the beginning of its GGUF file, so that one which
 * cannot be used is refused before gigabytes of weights arrive. Opening the model (source.ts) judges all of it.
 */
import { UserError } from "../errors.ts";
import { openCursor } from "../formats/gguf_cursor.ts";
import { readMetadata } from "../formats/gguf_metadata.ts";
import { ggufMagic } from "../formats/gguf_values.ts";
import { parseJson } from "../formats/json_depth.ts";
import { configFromHf } from "./parse_config.ts";
import { ggufArchitecture } from "./parse_gguf_config.ts";

/** UserError for a configuration that is not supported or not JSON; `source` is named in it. */
export function judgeConfig(text: string, source: string): void {
  let json: unknown;
  try {
    json = parseJson(text);
  } catch (error) {
    throw new UserError(`${source}: ${(error as Error).message}`, { hint: "Take another revision of the model" });
  }
  configFromHf(json, { source });
}

/** UserError when the first bytes of a GGUF file name an architecture that is not supported; what they do not say passes. */
export function judgeGgufHead(head: Uint8Array, source: string): void {
  const metadata = metadataIn(head);
  if (metadata.has("general.architecture")) ggufArchitecture(metadata, source);
}

/** The keys before the one that no longer fits into `head`: usually all but the vocabulary. */
function metadataIn(head: Uint8Array): Map<string, unknown> {
  const found = new Map<string, unknown>();
  const read = (offset: number, length: number) => head.slice(offset, offset + length);
  const cursor = openCursor({ name: "", size: head.length, read, close() {} });
  try {
    if (cursor.u32() !== ggufMagic) return found;
    cursor.u32(); // version
    cursor.u64(); // tensors
    for (let left = cursor.u64(); left > 0n; left--) {
      for (const [key, value] of readMetadata(cursor, 1).values) found.set(key, value);
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return found;
}
