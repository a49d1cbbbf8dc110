/**
 * The server's address, taken before there is anything to serve: until then requests are told to wait. Imports no
 * dependency, so that the process can give up its right to the network before any of them is loaded.
 */
import { UserError } from "../errors.ts";
import { ApiError, errorResponse } from "./api_error.ts";

export interface Address {
  host: string;
  /** 0: any free one. */
  port: number;
}

export interface Listener {
  server: Deno.HttpServer<Deno.NetAddr>;
  /** From here on requests go to `handle`, and the process lives as long as the server. */
  answer(handle: (request: Request) => Promise<Response> | Response): void;
}

/** Errors: UserError when the address cannot be had. */
export function openListener({ host, port }: Address): Listener {
  let handle = (_: Request): Promise<Response> | Response => errorResponse(loading);
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({
      hostname: host,
      port,
      onListen: () => {},
      onError: () => new Response(null, { status: 500 }),
    }, (request) => handle(request));
  } catch (error) {
    throw bindError(error, { host, port });
  }
  server.unref();
  return {
    server,
    answer(with_) {
      handle = with_;
      server.ref();
    },
  };
}

const loading = new ApiError(503, "The model is being loaded", {
  type: "unavailable_error",
  code: "loading",
  headers: { "retry-after": "2" },
});

/** IPv6 addresses as they stand in a URL. */
export const bracketed = (host: string) => host.includes(":") ? `[${host}]` : host;

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
