/**
 * Reads a request's body as checked JSON: within a size and a pace, as UTF-8, and of the shape that a schema says. Every
 * fault is told with its place.
 */
import type { z } from "zod";
import { parseJson } from "../formats/json_depth.ts";
import { jsonFault } from "../formats/json_fault.ts";
import { ApiError } from "./api_error.ts";

export interface BodyLimits {
  bodyLimit: number;
  bodyTimeout: number;
}

/** `types` are the media types taken; none named is JSON. */
export async function readBody<T>(
  request: Request,
  schema: z.ZodType<T>,
  limits: BodyLimits & { types?: RegExp },
): Promise<T> {
  const type = request.headers.get("content-type")?.split(";")[0].trim().toLowerCase() ?? "";
  if (type !== "" && !(limits.types ?? /^application\/([\w.-]+\+)?json$/).test(type)) {
    throw new ApiError(415, `Content-Type is ${type.slice(0, 100)}; expected application/json`, {
      code: "unsupported_media_type",
    });
  }
  const bytes = await readBytes(request, limits);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError(400, `The body is not UTF-8: byte ${badByte(bytes)} begins no character`, {
      code: "invalid_json",
    });
  }
  return check(parse(text), schema);
}

async function readBytes(request: Request, { bodyLimit, bodyTimeout }: BodyLimits): Promise<Uint8Array> {
  const tooLarge = () =>
    new ApiError(413, `The body is larger than ${bodyLimit} bytes, the most this server reads`, {
      code: "request_too_large",
      headers: { connection: "close" },
    });
  if (Number(request.headers.get("content-length") ?? 0) > bodyLimit) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  // Nor may a body come byte by byte for ever.
  const end = performance.now() + bodyTimeout * 10;
  while (reader) {
    const { value, done } = await inTime(reader.read(), Math.min(bodyTimeout, end - performance.now()));
    if (done) break;
    size += value.length;
    if (size > bodyLimit) {
      reader.cancel().catch(() => {});
      throw tooLarge();
    }
    chunks.push(value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** The next part of a body, or 408. */
async function inTime<T>(reading: Promise<T>, limit: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new ApiError(408, "The body comes too slowly", {
          code: "request_timeout",
          headers: { connection: "close" },
        }),
      );
    }, limit);
  });
  try {
    return await Promise.race([reading, late]);
  } catch (error) {
    reading.catch(() => {});
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, "The body ended before its end", { code: "incomplete_body" });
  } finally {
    clearTimeout(timer);
  }
}

/** Index of the first byte that does not decode. */
function badByte(bytes: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let at = 0; at < bytes.length; at++) {
    try {
      decoder.decode(bytes.subarray(at, at + 1), { stream: true });
    } catch {
      return at;
    }
  }
  return bytes.length;
}

function parse(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    const offset = text.trim() === "" ? 0 : jsonFault(text)?.offset ?? 0;
    const before = new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, offset));
    const lines = before.split("\n");
    const place = `line ${lines.length}, column ${lines[lines.length - 1].length + 1}`;
    const what = text.trim() === "" ? "The body is empty" : `The body is not JSON: ${place} (byte ${offset})`;
    throw new ApiError(400, what, { code: "invalid_json" });
  }
}

/** The value as the schema has it. Errors: the first wrong field, by its path. */
export function check<T>(value: unknown, schema: z.ZodType<T>): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue.path.map(String).join(".");
  throw new ApiError(400, `${path || "The body"}: ${issue.message}`, { param: path || null, code: "invalid_value" });
}
