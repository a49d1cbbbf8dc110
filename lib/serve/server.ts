/** The app on a port. Closing answers first what is being answered. */
import { type App, createApp } from "./app.ts";
import { bracketed, type Listener } from "./listen.ts";
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

/** Serves at an address that was taken. */
export function serveAt({ server, answer }: Listener): Listening {
  let app: App | undefined;
  const { hostname, port } = server.addr;
  const name = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "[::1]" : bracketed(hostname);
  return {
    hostname,
    port,
    url: `http://${name}:${port}`,
    serve(settings) {
      const made = app = createApp(settings);
      answer((request) => made.handle(request));
    },
    async close(limit) {
      const timer = setTimeout(() => app?.stop(), limit);
      await server.shutdown();
      clearTimeout(timer);
      app?.stop();
    },
  };
}
