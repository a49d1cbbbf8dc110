/**
 * Requests to a hub that speaks Hugging Face's protocol: who asks (the token, sent to the hub's own address only), how
 * often (again after what passes by itself), and what a refusal means in words. @huggingface/hub is handed `ask` as its
 * fetch; it has no retries, no time limits, and reports a status without the headers that explain it.
 */
import { UserError } from "../errors.ts";
import { pause } from "./pause.ts";

export interface HubSettings {
  /** "https://huggingface.co", or a mirror; no slash at the end. */
  endpoint: string;
  /** The user's token, and where it was found, for messages. */
  token?: { value: string; from: string };
  /** The setting that forbids all requests, such as "HF_HUB_OFFLINE". */
  offline?: string;
  /** Hugging Face's cache folder, shared with its own tools. */
  cacheDir: string;
}

/** How patient a transfer is and how it is cut; the defaults are meant for people's connections. */
export interface Tuning {
  /** Requests under way at once. */
  connections: number;
  /** Bytes of a large file asked for at a time. */
  pieceBytes: number;
  /** Failures in a row, without a byte in between, until a request is given up. */
  tries: number;
  /** Before the second try; doubled for each further one. */
  retryMs: number;
  /** Without a byte (or an answer) for so long, a request counts as broken. */
  stallMs: number;
}

export const tuning: Tuning = { connections: 8, pieceBytes: 64 << 20, tries: 6, retryMs: 500, stallMs: 30_000 };

/** What may go better next time: lost connections, an overloaded server. */
export class PassingError extends Error {
  constructor(
    message: string,
    /** Milliseconds the server wants us to wait. */
    readonly waitMs = 0,
    readonly status?: number,
  ) {
    super(message);
  }
}

/** Something would have to be fetched, and the caller wants to do that elsewhere. */
export class NotCachedError extends Error {}

/** The hub cannot be reached, or not now: what is cached may do instead. */
export class UnreachableError extends UserError {}

export interface Asking {
  hub: HubSettings;
  /** The repository, for messages. */
  repo: string;
  kind: "model" | "dataset";
  signal?: AbortSignal;
  tuning: Tuning;
}

/** One request, once. The answer is good; otherwise PassingError, or UserError with the reason. */
export async function askOnce(url: string | URL, init: RequestInit, asking: Asking): Promise<Response> {
  const { hub, signal, tuning } = asking;
  const target = new URL(url);
  const headers = new Headers(init.headers);
  headers.set("user-agent", "ftl");
  // A compressed answer has another length than the file, and cannot be continued.
  headers.set("accept-encoding", "identity");
  // fetch drops this header where a redirect leads to another host, such as the store with the large files.
  if (hub.token && target.origin === new URL(hub.endpoint).origin) {
    headers.set("authorization", `Bearer ${hub.token.value}`);
  }
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), tuning.stallMs);
  let response: Response;
  try {
    response = await fetch(target, {
      ...init,
      headers,
      signal: AbortSignal.any([late.signal, ...[signal, init.signal].filter((one) => one != null)]),
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw new PassingError(late.signal.aborted ? `no answer in ${tuning.stallMs / 1000} s` : reasonOf(error));
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return response;
  await response.body?.cancel().catch(() => {});
  throw refusal(response, asking);
}

/** Asks again after what passes. UnreachableError when it does not. */
export async function ask(url: string | URL, init: RequestInit, asking: Asking): Promise<Response> {
  for (let failures = 1;; failures++) {
    try {
      return await askOnce(url, init, asking);
    } catch (error) {
      if (!(error instanceof PassingError)) throw error;
      if (failures >= Math.min(4, asking.tuning.tries)) throw givenUp(error, asking);
      await pauseAfter(error, failures, asking);
    }
  }
}

/** Waits as long as the server wants, else longer each time, at most half a minute. Throws when aborted. */
export async function pauseAfter(error: PassingError, failures: number, { signal, tuning }: Asking): Promise<void> {
  const own = Math.min(30_000, tuning.retryMs * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
  await pause(Math.max(own, Math.min(error.waitMs, 300_000)), signal);
}

export function givenUp(error: PassingError, { hub }: Asking, kept = ""): UnreachableError {
  const host = new URL(hub.endpoint).host;
  if (error.status === 429) {
    return new UnreachableError(`${host} takes no more requests from here for now${kept}`, {
      hint: "Wait some minutes and run it again" + (hub.token ? "" : "; with a token in HF_TOKEN it allows more"),
    });
  }
  if (error.status !== undefined) {
    return new UnreachableError(`${host} answers ${error.message}${kept}`, { hint: "Run it again later" });
  }
  return new UnreachableError(`Cannot reach ${host}: ${error.message}${kept}`, {
    hint: "Check the network (HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror) and run it again",
  });
}

/** What a status and Hugging Face's headers mean (its X-Error-Code tells a gate from a missing repository). */
function refusal(response: Response, { hub, repo, kind }: Asking): Error {
  const { status, headers } = response;
  const code = headers.get("x-error-code"), said = printable(headers.get("x-error-message"));
  const here = new URL(hub.endpoint),
    host = here.host,
    page = `${hub.endpoint}/${kind === "dataset" ? "datasets/" : ""}${repo}`;
  const elsewhere = response.url !== "" && new URL(response.url).origin !== here.origin;
  if (status === 429 || status === 408 || status >= 500 || elsewhere && status === 403) {
    // A store's 403 is a link that has expired; the hub gives a new one.
    return new PassingError(`${status}${said && ` (${said})`}`, waitOf(headers), status);
  }
  if (code === "GatedRepo" || (status === 403 && /gated|restricted/i.test(said))) {
    return new UserError(`${repo} is gated: its licence has to be accepted before it can be fetched`, {
      hint: hub.token
        ? `Accept it at ${page} with the account of your token (${hub.token.from}), and run it again`
        : `Accept it at ${page}, make a token at ${hub.endpoint}/settings/tokens, and set HF_TOKEN to it`,
    });
  }
  if (status === 401 && hub.token && (code === null || /invalid credentials/i.test(said))) {
    return new UserError(`${host} does not accept the token from ${hub.token.from}`, {
      hint: `Set HF_TOKEN to a token of ${hub.endpoint}/settings/tokens, or remove the old one`,
    });
  }
  if (code === "RevisionNotFound") {
    return new UserError(`${repo} has no such revision${said && `: ${said}`}`, {
      hint: `Its branches and tags are at ${page}/tree/main; without @revision it is main`,
    });
  }
  if (code === "EntryNotFound") {
    return new UserError(`${repo} has no file ${decodeURIComponent(new URL(response.url).pathname)}`);
  }
  if (status === 404 || status === 401) {
    const access = hub.token
      ? `the account of your token (${hub.token.from}) may not see it`
      : "it is private, and needs a token in HF_TOKEN";
    return new UserError(`${host} has no ${kind} ${repo}: the name is misspelt, or ${access}`, {
      hint: `Check ${page}`,
    });
  }
  return new UserError(`${host} refuses ${repo}: ${status}${said && ` (${said})`}`, { hint: `Check ${page}` });
}

/** Milliseconds until the next request may come, from Retry-After or the hub's RateLimit ("api";r=0;t=55). */
function waitOf(headers: Headers): number {
  const after = headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(after)
    ? Number(after)
    : after !== "" && !Number.isNaN(Date.parse(after))
    ? (Date.parse(after) - Date.now()) / 1000
    : Number(/;r=0\b.*;t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1] ?? 0);
  return Math.max(0, seconds) * 1000;
}

/** What went wrong below fetch, without the layers of its client around it: "Connection refused". */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as Error & { cause?: unknown };
  const inner = cause instanceof Error && cause.message !== "" ? cause.message : message;
  const layers = /^(error sending request for url \([^)]*\)|client error \(\w+\)|tcp connect error|dns error): /;
  let text = String(inner).replace(/ \(os error \d+\)$/, "");
  while (layers.test(text)) text = text.replace(layers, "");
  return printable(text) || "the connection broke";
}

function printable(text: string | null): string {
  // deno-lint-ignore no-control-regex
  return (text ?? "").replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim().slice(0, 200);
}
