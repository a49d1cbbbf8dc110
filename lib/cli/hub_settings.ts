/**
 * Where the hub is, who asks and where its cache lies, from the variables and files that Hugging Face's own tools use.
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import type { HubSettings } from "../hub/request.ts";

/** Throws UserError for an HF_ENDPOINT that is no address. */
export function hubSettings(env: (name: string) => string | undefined = (name) => Deno.env.get(name)): HubSettings {
  const user = env("HOME") || env("USERPROFILE") || ".";
  const folder = (name: string) => env(name)?.trim().replace(/^~(?=$|[\\/])/, user) || undefined;
  const home = folder("HF_HOME") ?? join(folder("XDG_CACHE_HOME") ?? join(user, ".cache"), "huggingface");
  const on = (name: string) => /^(1|on|yes|true)$/i.test(env(name) ?? "");
  const endpoint = (env("HF_ENDPOINT") || "https://huggingface.co").replace(/\/+$/, "");
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw new UserError(`HF_ENDPOINT is ${JSON.stringify(endpoint)}, not an address that begins with https://`, {
      exitCode: 2,
    });
  }
  return {
    endpoint,
    token: tokenOf(env, folder("HF_TOKEN_PATH") ?? join(home, "token")),
    offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].find(on),
    cacheDir: folder("HF_HUB_CACHE") ?? folder("HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
  };
}

/** The environment's token, else the one that `hf auth login` (or huggingface-cli login) left in its file. */
function tokenOf(env: (name: string) => string | undefined, path: string): HubSettings["token"] {
  for (const from of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
    const value = env(from)?.trim();
    if (value) return { value: printableToken(value, from), from };
  }
  let text: string;
  try {
    text = Deno.readTextFileSync(path).trim();
  } catch {
    return undefined;
  }
  return text === "" ? undefined : { value: printableToken(text, path), from: path };
}

/** A token goes into a header: anything but visible ASCII is a slip of the clipboard. */
function printableToken(value: string, from: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new UserError(`The token in ${from} has blanks or other characters that no token has`, { exitCode: 2 });
}
