/**
 * What a person may name as a remote model: `openai:gpt-4o-mini`, `deepseek:deepseek-chat`, or `https://host/v1#model`.
 * Keys come from the environment and stay in memory; prices come from the person, never from here.
 */
import { parse } from "yaml";
import { nearest, UserError } from "../errors.ts";
import type { ChatEndpoint } from "../hub/chat_client.ts";
import { kindOfPath, readText } from "../model/model_files.ts";
import { environmentValue } from "./terminal.ts";

/** Addresses as the providers' documentation gives them. */
const presets: Record<string, { baseUrl: string; keyName: string }> = {
  openai: { baseUrl: "https://api.openai.com/v1", keyName: "OPENAI_API_KEY" },
  deepseek: { baseUrl: "https://api.deepseek.com/v1", keyName: "DEEPSEEK_API_KEY" },
};

export interface Remote {
  /** As it was named. */
  name: string;
  endpoint: ChatEndpoint;
}

/** `keyName` is the variable that holds the key of models named by address. Errors: UserError, exit code 2. */
export function readRemote(name: string, { keyName }: { keyName: string }): Remote {
  const fail = (what: string, hint: string) => new UserError(`Remote model ${name}: ${what}`, { hint, exitCode: 2 });
  const [, provider, model] = /^([a-z]+):([^/].*)$/.exec(name) ?? [];
  if (provider !== undefined) {
    if (!Object.hasOwn(presets, provider)) {
      const near = nearest(provider, Object.keys(presets));
      throw fail(
        `unknown provider "${provider}"${near ? `, did you mean ${near}?` : ""}`,
        `${Object.keys(presets).join(", ")} are known; others by address, as in https://host/v1#model`,
      );
    }
    const { baseUrl, keyName } = presets[provider], key = environmentValue(keyName);
    if (key === null) throw fail("there is no key for it", `set ${keyName} in the environment`);
    return { name, endpoint: { baseUrl, model, key: checkedKey(key, keyName) } };
  }
  if (!URL.canParse(name) || !/^https?:$/.test(new URL(name).protocol)) {
    throw fail("neither provider:model nor an address", "for example openai:gpt-4o-mini or https://host/v1#model");
  }
  const url = new URL(name);
  if (url.username !== "" || url.password !== "") {
    throw new UserError(`Remote model at ${url.host}: a key does not belong into the address`, {
      hint: `set ${keyName} in the environment`,
      exitCode: 2,
    });
  }
  if (url.hash.length < 2) {
    throw fail("the model's name is missing", `write it behind a #: ${name.replace(/#$/, "")}#model`);
  }
  const baseUrl = (url.origin + url.pathname).replace(/\/(chat\/completions)?\/*$/, "");
  const key = environmentValue(keyName);
  const endpoint = { baseUrl, model: decodeURIComponent(url.hash.slice(1)), key: key && checkedKey(key, keyName) };
  return { name, endpoint };
}

/** What cannot stand in a header would end in an error that shows it. */
function checkedKey(key: string, keyName: string): string {
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw new UserError(`${keyName} holds something other than a key: spaces or characters beyond ASCII`, {
    exitCode: 2,
  });
}

/** Price of a million tokens, in any currency. */
export interface Price {
  input: number;
  output: number;
}

/** Prices by model as it is named, from `MODEL=INPUT/OUTPUT`, or from lines `MODEL: INPUT/OUTPUT` of a YAML file. */
export function readPrices(given: string[]): Map<string, Price> {
  const prices = new Map<string, Price>();
  for (const text of given) {
    const [, name, price] = /^(.+)=([^=]*)$/s.exec(text) ?? [];
    if (name !== undefined) prices.set(name, readPrice(price, `--price ${text}`));
    else if (kindOfPath(text) === "file") { for (const [name, price] of pricesOfFile(text)) prices.set(name, price); }
    else {
      throw new UserError(`--price ${text}: neither MODEL=INPUT/OUTPUT nor a file`, {
        hint: "for example --price openai:gpt-4o-mini=0.15/0.60, for a million tokens read and written",
        exitCode: 2,
      });
    }
  }
  return prices;
}

function pricesOfFile(path: string): [string, Price][] {
  let values: unknown;
  try {
    values = parse(readText(path));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`Cannot read ${path}: ${(error as Error).message.split("\n")[0]}`, { exitCode: 2 });
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new UserError(`${path}: expected lines of the form MODEL: INPUT/OUTPUT`, { exitCode: 2 });
  }
  return Object.entries(values).map(([name, price]) => [name, readPrice(String(price), `${path}: ${name}`)]);
}

function readPrice(text: string, place: string): Price {
  const [, input, output] = /^\s*(\d+(?:\.\d+)?)\s*\/\s*(\d+(?:\.\d+)?)\s*$/.exec(text) ?? [];
  if (input === undefined) {
    throw new UserError(`${place}: expected two prices for a million tokens, read and written, as 0.15/0.60`, {
      exitCode: 2,
    });
  }
  return { input: Number(input), output: Number(output) };
}
