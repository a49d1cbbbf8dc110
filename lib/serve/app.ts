/**
 * The routes: which path is answered by what, and what holds for all of them: access, errors, methods, counting. Paths
 * are taken with and without /v1 and with doubled slashes, as clients send them.
 */
import { Hono } from "hono";
import { loadAdapter, unloadAdapter } from "./adapter_routes.ts";
import { ApiError, asApiError, errorResponse, ollamaErrorResponse } from "./api_error.ts";
import { chatCompletions } from "./chat.ts";
import { completions } from "./completions.ts";
import { embeddings } from "./embeddings.ts";
import { createGrammars } from "./grammars.ts";
import { createMetrics } from "./metrics.ts";
import { listModels, oneModel } from "./models.ts";
import * as ollama from "./ollama.ts";
import { page, pageInfo } from "./page.ts";
import { responses } from "./responses.ts";
import { checkCaller, checkOrigin, corsHeaders, preflight } from "./security.ts";
import type { Service, ServiceSettings } from "./service.ts";

type Answer = (service: Service, request: Request, parameter: string) => Response | Promise<Response>;

interface Route {
  method: "GET" | "POST";
  /** As hono writes paths; `:id` is handed to the answer. */
  path: string;
  answer: Answer;
}

const routes: Route[] = [
  { method: "GET", path: "/", answer: page },
  ...withAndWithoutV1("GET", "/health", () => Response.json({ status: "ok" })),
  { method: "GET", path: "/metrics", answer: metrics },
  { method: "GET", path: "/ftl/info", answer: pageInfo },
  ...withAndWithoutV1("POST", "/chat/completions", chatCompletions),
  ...withAndWithoutV1("POST", "/completions", completions),
  ...withAndWithoutV1("POST", "/embeddings", embeddings),
  ...withAndWithoutV1("POST", "/responses", responses),
  ...withAndWithoutV1("GET", "/models", listModels),
  ...withAndWithoutV1("GET", "/models/:id{.+}", (service, _, id) => oneModel(service, id)),
  { method: "POST", path: "/v1/load_lora_adapter", answer: loadAdapter },
  { method: "POST", path: "/v1/unload_lora_adapter", answer: unloadAdapter },
  { method: "POST", path: "/api/chat", answer: ollama.chat },
  { method: "POST", path: "/api/generate", answer: ollama.generate },
  { method: "GET", path: "/api/tags", answer: ollama.tags },
  { method: "POST", path: "/api/show", answer: ollama.show },
  { method: "GET", path: "/api/version", answer: ollama.version },
];

function withAndWithoutV1(method: Route["method"], path: string, answer: Answer): Route[] {
  return [{ method, path: `/v1${path}`, answer }, { method, path, answer }];
}

/** What a request turned out to be, for counting. */
interface Seen {
  route: string;
}

export interface App {
  handle(request: Request): Promise<Response>;
  /** Ends every answer that is under way. */
  stop(): void;
}

export function createApp(settings: ServiceSettings): App {
  const stopping = new AbortController();
  const service: Service = {
    ...settings,
    grammars: createGrammars(settings.tokenizer),
    metrics: createMetrics(),
    removed: new Set(),
    stopping: stopping.signal,
  };
  const hono = new Hono<{ Bindings: Seen }>({ getPath: (request) => plainPath(new URL(request.url).pathname) });
  for (const { method, path, answer } of routes) {
    hono.on(method, path, ({ env, req }) => {
      env.route = path;
      return answer(service, req.raw, req.param("id") ?? "");
    });
  }
  for (const path of new Set(routes.map((route) => route.path))) {
    const methods = routes.filter((route) => route.path === path).map(({ method }) => method);
    hono.options(path, ({ req }) => preflight(req.raw, methods));
    hono.all(path, ({ req }) => {
      throw new ApiError(405, `${req.method} is not possible here, only ${methods.join(", ")}`, {
        code: "method_not_allowed",
        headers: { allow: methods.join(", ") },
      });
    });
  }
  hono.notFound(({ req }) => {
    throw new ApiError(404, `Unknown request URL: ${req.method} ${req.path.slice(0, 200)}`, { code: "unknown_url" });
  });
  // Errors are answered below, where those of access are too.
  hono.onError((error) => {
    throw error;
  });

  const { fetch: dispatch } = hono;

  async function handle(request: Request): Promise<Response> {
    const began = performance.now(), path = plainPath(new URL(request.url).pathname);
    const seen: Seen = { route: "none" };
    let response: Response, cors: Record<string, string> = {};
    try {
      checkOrigin(request, service);
      // A page that may ask may also read what is wrong with its key.
      cors = corsHeaders(request);
      checkCaller(request, request.method === "OPTIONS" ? "/" : path, service);
      response = await dispatch(request, seen);
    } catch (thrown) {
      const error = asApiError(thrown, service.report);
      response = path.startsWith("/api/") ? ollamaErrorResponse(error) : errorResponse(error);
    }
    // Whoever has left sees no status; they are counted under the one that nginx has for them.
    const status = request.signal.aborted ? 499 : response.status;
    service.metrics.request(seen.route, status, (performance.now() - began) / 1000);
    const always = { ...cors, "x-content-type-options": "nosniff", "x-request-id": crypto.randomUUID() };
    for (const [name, value] of Object.entries(always)) response.headers.set(name, value);
    return response;
  }

  function stop(): void {
    stopping.abort();
    service.grammars.close();
  }

  return { handle, stop };
}

function metrics(service: Service): Response {
  return new Response(service.metrics.text(service.engine.stats()), {
    headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
  });
}

/** "//v1//models/" -> "/v1/models" */
function plainPath(path: string): string {
  return path.replace(/\/{2,}/g, "/").replace(/(?<=.)\/$/, "");
}
