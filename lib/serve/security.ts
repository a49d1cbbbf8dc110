/**
 * Who may ask: the key, the name by which the server was called, and the page that asks. A page elsewhere can make a
 * browser send requests here, under a name of its own that points to this machine; without a key both are refused.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "./api_error.ts";

export interface Access {
  apiKey: string | null;
  corsOrigins: string[];
  hosts: string[];
}

/** Paths that need no key: the page asks for it, and scripts wait for a server to be up. */
const open = new Set(["/", "/health", "/v1/health"]);

/** Whether the page that asks may. Errors: ApiError 403. */
export function checkOrigin(request: Request, access: Access): void {
  const origin = request.headers.get("origin");
  if (origin !== null && !originAllowed(origin, request, access)) {
    throw new ApiError(403, `Requests from pages of ${origin.slice(0, 200)} are not allowed; see --cors`, {
      type: "permission_error",
      code: "origin_not_allowed",
    });
  }
}

/** Whether the server's name and the key are right. Errors: ApiError 401 or 403. */
export function checkCaller(request: Request, path: string, access: Access): void {
  const host = request.headers.get("host") ?? new URL(request.url).host;
  // Who knows the key is no page that was led here.
  if (access.apiKey === null && !hostAllowed(host, access)) {
    throw new ApiError(403, `The server is not called ${host.slice(0, 200)}; see --host`, {
      type: "permission_error",
      code: "host_not_allowed",
    });
  }
  if (access.apiKey === null || open.has(path)) return;
  const given = keyOf(request);
  if (given !== null && sameText(given, access.apiKey)) return;
  throw new ApiError(401, given === null ? "You didn't provide an API key" : "Incorrect API key provided", {
    type: "authentication_error",
    code: "invalid_api_key",
    headers: { "www-authenticate": "Bearer" },
  });
}

function keyOf(request: Request): string | null {
  const bearer = /^Bearer +(.+)$/i.exec(request.headers.get("authorization") ?? "");
  return bearer ? bearer[1].trim() : request.headers.get("x-api-key");
}

/** Takes as long for a wrong beginning as for a wrong end, and for texts of any length. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

const isAddress = (name: string) => /^\d+\.\d+\.\d+\.\d+$/.test(name) || /^\[[0-9a-f:.]+\]$/i.test(name);
const isLocal = (name: string) => /^(localhost|[\w-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/i.test(name);

/** An address cannot be made to point elsewhere, a name can. */
function hostAllowed(host: string, { hosts }: Access): boolean {
  const name = host.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase();
  return isLocal(name) || isAddress(name) || hosts.some((known) => known.toLowerCase() === name);
}

function originAllowed(origin: string, request: Request, { corsOrigins }: Access): boolean {
  if (corsOrigins.includes("*") || corsOrigins.includes(origin)) return true;
  let url: URL;
  try {
    url = new URL(origin);
  } catch {
    return false;
  }
  if (!/^https?:$/.test(url.protocol)) return false;
  return isLocal(url.hostname) || url.host === (request.headers.get("host") ?? "");
}

/** What a browser is told of a request from a page that may ask. */
export function corsHeaders(request: Request): Record<string, string> {
  const origin = request.headers.get("origin");
  return origin === null ? {} : {
    "access-control-allow-origin": origin,
    "access-control-expose-headers": "x-request-id, retry-after",
    "vary": "Origin",
  };
}

/** The answer to a browser's question before the request itself. OpenAI's client has many headers of its own. */
export function preflight(request: Request, methods: string[]): Response {
  const asked = request.headers.get("access-control-request-headers") ?? "";
  const headers = asked.split(",").map((header) => header.trim().toLowerCase())
    .filter((header) =>
      /^(authorization|content-type|accept|user-agent|x-[\w-]+|openai-[\w-]+|idempotency-key)$/.test(header)
    );
  return new Response(null, {
    status: 204,
    headers: {
      ...corsHeaders(request),
      "access-control-allow-methods": methods.join(", "),
      "access-control-allow-headers": headers.join(", "),
      "access-control-max-age": "600",
      ...(request.headers.get("access-control-request-private-network") === "true"
        ? { "access-control-allow-private-network": "true" }
        : {}),
    },
  });
}
