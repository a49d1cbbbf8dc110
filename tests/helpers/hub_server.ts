/**
 * A hub on this machine that speaks Hugging Face's protocol, with its store of large files at another address, as the
 * real one has: revision, tree in pages, resolve with redirects and headers, ranges, tokens, gates, and faults on
 * demand.
 */
import { createHash } from "node:crypto";

export interface HubRepo {
  kind?: "model" | "dataset";
  files: Record<string, Uint8Array | string>;
  gated?: boolean;
  private?: boolean;
}

/** A request for a file's bytes, before it is answered. */
export interface FileRequest {
  path: string;
  /** Number of earlier requests for bytes of this file. */
  earlier: number;
  start: number;
  end: number;
}

export type Fault =
  /** A status instead of the bytes. */
  | { status: number; headers?: Record<string, string> }
  /** The connection breaks after so many bytes. */
  | { cutAfter: number }
  /** Nothing comes after so many bytes. */
  | { stallAfter: number }
  /** The whole file, whatever was asked for. */
  | { ignoreRange: true }
  /** Other bytes of the same length. */
  | { change: true };

export interface HubServer {
  endpoint: string;
  /** Every request: "GET /api/models/a/b/revision/main", at the store "GET store/<digest>". */
  log: string[];
  /** Authorization headers that reached the store. */
  leaked: string[];
  /** Bytes of files that were sent. */
  sent(): number;
  /** The commit of a repository's main branch. */
  commit(name: string): string;
  repos: Record<string, HubRepo>;
  fault?: (request: FileRequest) => Fault | undefined;
  /** Answers to the hub's own API instead of the right ones. */
  apiFault?: (path: string) => Fault | undefined;
  /** The text that the hub's API answers instead of the right one. */
  apiAnswer?: string;
  /** The further pages of a listing are said to be at the store's address. */
  strayPages?: boolean;
  /** Names of files as the listing tells them. */
  renamed: Record<string, string>;
}

export const goodToken = "hf_good";

/** Entries of a page of a listing. */
const page = 3;

const bytesOf = (content: Uint8Array | string) =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;
const isLarge = (path: string, bytes: Uint8Array) =>
  /\.(safetensors|gguf|parquet|bin)$/.test(path) || bytes.length > 5000;
const known = new WeakMap<Uint8Array, string>();
export function sha256(bytes: Uint8Array): string {
  const digest = known.get(bytes) ?? createHash("sha256").update(bytes).digest("hex");
  known.set(bytes, digest);
  return digest;
}
export const gitId = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Runs `test` against a hub with these repositories, by "org/name" (datasets too). */
export async function withHub(repos: Record<string, HubRepo>, test: (hub: HubServer) => Promise<void>): Promise<void> {
  const stopped = new AbortController();
  let sent = 0;
  const counts = new Map<string, number>();
  const hub: HubServer = {
    endpoint: "",
    log: [],
    leaked: [],
    sent: () => sent,
    repos,
    renamed: {},
    commit(name) {
      const { files } = hub.repos[name];
      return createHash("sha1").update(
        Object.entries(files).map(([path, content]) => path + sha256(bytesOf(content))).join(),
      )
        .digest("hex");
    },
  };

  /** A file's bytes as a web server gives them, with the fault that is due. */
  function give(request: Request, path: string, content: Uint8Array, headers: Record<string, string>): Response {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
    const size = content.length;
    let [start, end] = range ? [Number(range[1]), range[2] === "" ? size - 1 : Number(range[2])] : [0, size - 1];
    if (range && start >= size) {
      return new Response(null, { status: 416, headers: { "content-range": `bytes */${size}` } });
    }
    end = Math.min(end, size - 1);
    if (request.method === "HEAD") return new Response(null, { headers: { ...headers, "content-length": `${size}` } });
    const earlier = counts.get(path) ?? 0;
    counts.set(path, earlier + 1);
    const fault = hub.fault?.({ path, earlier, start, end: end + 1 });
    if (fault && "status" in fault) return new Response("no", fault);
    const whole = !range || (fault && "ignoreRange" in fault);
    if (whole) [start, end] = [0, size - 1];
    let bytes = content.slice(start, end + 1);
    if (fault && "change" in fault) bytes = bytes.map((byte) => byte ^ 1);
    const limit = fault && "cutAfter" in fault
      ? fault.cutAfter
      : fault && "stallAfter" in fault
      ? fault.stallAfter
      : Infinity;
    const stalls = fault && "stallAfter" in fault;
    let at = 0;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const next = bytes.subarray(at, Math.min(at + 16_000, limit, bytes.length));
        if (next.length === 0 && at < bytes.length) {
          if (stalls) await new Promise((resolve) => stopped.signal.addEventListener("abort", resolve));
          // What was sent last should arrive before the connection breaks.
          await new Promise((resolve) => setTimeout(resolve, 5));
          return controller.error(new Error("cut"));
        }
        at += next.length;
        sent += next.length;
        if (next.length > 0) controller.enqueue(next.slice());
        if (at === bytes.length) controller.close();
      },
    });
    const all = { ...headers, "content-length": `${bytes.length}`, "accept-ranges": "bytes" };
    if (whole) return new Response(body, { headers: all });
    return new Response(body, { status: 206, headers: { ...all, "content-range": `bytes ${start}-${end}/${size}` } });
  }

  const store = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {}, onError }, (request) => {
    const path = new URL(request.url).pathname.slice(1);
    hub.log.push(`${request.method} store/${path}`);
    const authorization = request.headers.get("authorization");
    if (authorization) hub.leaked.push(authorization);
    for (const { files } of Object.values(hub.repos)) {
      for (const [name, content] of Object.entries(files)) {
        const bytes = bytesOf(content);
        if (sha256(bytes) === path) return give(request, name, bytes, { etag: `"${path}"` });
      }
    }
    return new Response("<Error/>", { status: 403 });
  });

  function answer(request: Request): Response {
    const url = new URL(request.url), path = decodeURIComponent(url.pathname);
    hub.log.push(`${request.method} ${path}`);
    const fault = hub.apiFault?.(path);
    if (fault && "status" in fault) return new Response("no", fault);
    if (hub.apiAnswer !== undefined) {
      return new Response(hub.apiAnswer, { headers: { "content-type": "application/json" } });
    }
    const api = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(revision|tree)\/(.+)$/.exec(path);
    const resolve = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const cached = /^\/api\/resolve-cache\/([^/]+\/[^/]+)\/[^/]+\/(.+)$/.exec(path);
    const name = api?.[2] ?? resolve?.[2] ?? cached?.[1] ?? "";
    const kind = api?.[1] === "datasets" || resolve?.[1] ? "dataset" : "model";
    const token = request.headers.get("authorization");
    const refuse = (status: number, code: string | null, message: string) =>
      new Response(JSON.stringify({ error: message }), {
        status,
        headers: {
          "content-type": "application/json",
          "x-error-message": message,
          ...(code && { "x-error-code": code }),
        },
      });
    if (token && token !== `Bearer ${goodToken}`) {
      return refuse(401, null, "Invalid credentials in Authorization header");
    }
    const repo = hub.repos[name];
    if (!repo || (!cached && (repo.kind ?? "model") !== kind) || (repo.private && !token)) {
      return token
        ? refuse(404, "RepoNotFound", "Repository not found")
        : refuse(401, null, "Invalid username or password.");
    }
    const commit = hub.commit(name), revision = api?.[4] ?? resolve?.[3] ?? commit;
    if (!["main", "HEAD", commit, "v1", "refs/pr/1"].includes(revision)) {
      return refuse(404, "RevisionNotFound", `Invalid rev id: ${revision}`);
    }
    if (api?.[3] === "revision") {
      return Response.json({ _id: "1", id: name, sha: commit, private: false, gated: repo.gated ? "manual" : false });
    }
    if (api) return tree(repo, url);
    const file = cached?.[2] ?? resolve![4], content = repo.files[file];
    if (repo.gated && !token) {
      return refuse(401, "GatedRepo", `Access to model ${name} is restricted. You must have access to it.`);
    }
    if (content === undefined) return refuse(404, "EntryNotFound", "Entry not found");
    const bytes = bytesOf(content), headers = { "x-repo-commit": commit };
    if (cached) return give(request, file, bytes, { ...headers, etag: `"${gitId(bytes)}"` });
    const large = isLarge(file, bytes);
    const linked = { "x-linked-size": `${bytes.length}`, "x-linked-etag": `"${large ? sha256(bytes) : gitId(bytes)}"` };
    const location = large
      ? `http://127.0.0.1:${store.addr.port}/${sha256(bytes)}?X-Amz-Signature=1`
      : `/api/resolve-cache/${name}/${commit}/${encodeURIComponent(file)}`;
    return new Response(null, { status: large ? 302 : 307, headers: { ...headers, ...linked, location } });
  }

  function tree({ files }: HubRepo, url: URL): Response {
    const entries = Object.entries(files).map(([path, content]) => {
      const bytes = bytesOf(content), entry = { type: "file", path: hub.renamed[path] ?? path, size: bytes.length };
      if (!isLarge(path, bytes)) return { ...entry, oid: gitId(bytes) };
      const lfs = { oid: sha256(bytes), size: bytes.length, pointerSize: 134 };
      return { ...entry, oid: gitId(bytes.slice(0, 134)), lfs };
    });
    const at = Number(url.searchParams.get("cursor") ?? 0), next = new URL(url);
    next.searchParams.set("cursor", `${at + page}`);
    if (hub.strayPages) next.port = `${store.addr.port}`;
    const link = at + page < entries.length ? { link: `<${next}>; rel="next"` } : undefined;
    return Response.json(entries.slice(at, at + page), { headers: link });
  }

  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {}, onError }, answer);
  hub.endpoint = `http://127.0.0.1:${server.addr.port}`;
  try {
    await test(hub);
  } finally {
    stopped.abort();
    await Promise.all([server.shutdown(), store.shutdown()]);
  }
}

/** Broken streams are meant here. */
function onError(): Response {
  return new Response("broken", { status: 500 });
}
