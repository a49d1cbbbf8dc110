/** GET /, the chat page as its file has it, and GET /ftl/info, what the page needs to know. */
import { createHash } from "node:crypto";
import { ApiError } from "./api_error.ts";
import { firstOf, type Service } from "./service.ts";

export function page({ page }: Service): Response {
  if (page === null) throw new ApiError(404, "There is no chat page here", { code: "unknown_url" });
  return new Response(page, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-cache",
      "content-security-policy": contentPolicy(page),
      "referrer-policy": "no-referrer",
      "x-frame-options": "DENY",
    },
  });
}

/**
 * Only what stands in the page itself may run, known by its digest: an answer that held a script would be text to the
 * browser too. The page reaches this server and nothing else.
 */
export function contentPolicy(html: string): string {
  const digests = (tag: string) =>
    [...html.matchAll(new RegExp(`<${tag}(?:\\s[^>]*)?>([\\s\\S]*?)</${tag}>`, "gi"))]
      .filter(([, body]) => body !== "")
      .map(([, body]) => `'sha256-${createHash("sha256").update(body).digest("base64")}'`);
  const sources = (tag: string) => digests(tag).join(" ") || "'none'";
  return [
    "default-src 'none'",
    `script-src ${sources("script")}`,
    `style-src ${sources("style")}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

export function pageInfo({ engine, version, systemPrompt, apiKey, defaultModel }: Service): Response {
  return Response.json({
    version,
    models: engine.models().map(({ id, aliases, parent }) => ({ id, aliases, parent: parent ?? null })),
    defaultModel: firstOf(engine.models(), defaultModel).id,
    contextLength: engine.contextLength,
    defaultSystem: systemPrompt ?? "",
    needsKey: apiKey !== null,
  });
}
