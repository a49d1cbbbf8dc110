/** The app on a port. Binding errors are the user's to act on; closing answers first what is being answered. */
import { UserError } from "../errors.ts";
import { ApiError, errorResponse } from "./api_error.ts";
import { type App, createApp } from "./app.ts";
import type { ServiceSettings } from "./service.ts";

export interface Listening {
  hostname: string;
  port: number;
  /** For a person: "http://127.0.0.1:8080". */
  url: string;
  /** From here on requests are answered; before, they are told to wait. */
  serve(settings: ServiceSettings): void;
  /** Takes nothing new, finishes what runs within `limit` milliseconds, then ends it. */
  close(limit: number): Promise<void>;
}

export const defaultLimits = { bodyLimit: 16 << 20, bodyTimeout: 20_000, keepAlive: 10_000 };

/**
 * Takes an address, before the model is loaded: a wrong one is known at once, and the process may then give up its
 * right to reach the network. Port 0 is any free one. Errors: UserError when the address cannot be had.
 */
export function listen({ host, port }: { host: string; port: number }): Listening {
  let app: App | undefined;
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({
      hostname: host,
      port,
      onListen: () => {},
      onError: () => new Response(null, { status: 500 }),
    }, (request) => app ? app.handle(request) : errorResponse(loading));
  } catch (error) {
    throw bindError(error, { host, port });
  }
  const { hostname, port: bound } = server.addr;
  const name = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "[::1]" : bracketed(hostname);
  return {
    hostname,
    port: bound,
    url: `http://${name}:${bound}`,
    serve(settings) {
      app = createApp(settings);
    },
    async close(limit) {
      const timer = setTimeout(() => app?.stop(), limit);
      await server.shutdown();
      clearTimeout(timer);
      app?.stop();
    },
  };
}

const loading = new ApiError(503, "The model is being loaded", {
  type: "unavailable_error",
  code: "loading",
  headers: { "retry-after": "2" },
});

const bracketed = (host: string) => host.includes(":") ? `[${host}]` : host;

function bindError(error: unknown, { host, port }: { host: string; port: number }): unknown {
  const place = `${bracketed(host)}:${port}`;
  if (error instanceof Deno.errors.AddrInUse) {
    return new UserError(`Cannot listen on ${place}: another program has this port`, {
      hint: "choose another with --port, or --port 0 for any free one",
    });
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return new UserError(`Cannot listen on ${place}: not permitted`, { hint: "choose a --port above 1023" });
  }
  if (error instanceof Deno.errors.AddrNotAvailable || /resolve|lookup|not known/i.test(String(error))) {
    return new UserError(`Cannot listen on ${place}: this machine has no such address`, {
      hint: "--host 127.0.0.1 for this machine alone, 0.0.0.0 for all its addresses",
    });
  }
  return error;
}
