/** The app on a port. Binding errors are the user's to act on; closing answers first what is being answered. */
import { UserError } from "../errors.ts";
import { createApp } from "./app.ts";
import type { ServiceSettings } from "./service.ts";

export interface Server {
  hostname: string;
  port: number;
  /** For a person: "http://127.0.0.1:8080". */
  url: string;
  /** Takes nothing new, finishes what runs within `limit` milliseconds, then ends it. */
  close(limit: number): Promise<void>;
}

export const defaultLimits = { bodyLimit: 16 << 20, bodyTimeout: 20_000, keepAlive: 10_000 };

/** Starts to listen; port 0 takes any free one. Errors: UserError when the address cannot be had. */
export function startServer(settings: ServiceSettings, { host, port }: { host: string; port: number }): Server {
  const app = createApp(settings);
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({
      hostname: host,
      port,
      onListen: () => {},
      onError(error) {
        settings.report(error);
        return new Response(null, { status: 500 });
      },
    }, app.handle);
  } catch (error) {
    throw bindError(error, { host, port });
  }
  const { hostname, port: bound } = server.addr;
  const name = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "[::1]" : bracketed(hostname);
  return {
    hostname,
    port: bound,
    url: `http://${name}:${bound}`,
    async close(limit) {
      const timer = setTimeout(app.stop, limit);
      await server.shutdown();
      clearTimeout(timer);
      app.stop();
    },
  };
}

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
