/**
 * What a dataset's README.md says about its files, in the YAML before its text: configurations, each with splits, each
 * with patterns of paths. https://huggingface.co/docs/hub/datasets-manual-configuration
 */
import { parse } from "yaml";
import { nestsKeys } from "../formats/yaml_keys.ts";
import { UserError } from "../errors.ts";
import { matching } from "./glob.ts";

interface CardConfig {
  name: string;
  isDefault: boolean;
  splits: { name: string; patterns: string[] }[];
}

export interface Asked {
  repo: string;
  config?: string;
  split?: string;
}

/**
 * Paths of the data files that a card means, in their order; undefined for a card that says nothing of files. UserError
 * for a configuration or split that it does not have, or of which none is the obvious one.
 */
export function filesByCard(card: string, paths: string[], { repo, config, split }: Asked): string[] | undefined {
  const configs = configsOf(card);
  if (configs.length === 0) return undefined;
  const wanted = pick(configs, {
    repo,
    what: "configuration",
    named: config,
    usual: (one) => one.isDefault || one.name === "default",
  });
  const { patterns } = pick(wanted.splits, {
    repo,
    what: "split",
    named: split,
    usual: ({ name }) => name === "train",
  });
  const found = matching(patterns, paths);
  if (found.length > 0) return found.sort();
  throw new UserError(`${repo} has no files at ${patterns.slice(0, 5).join(", ")}, where its README.md says they are`, {
    hint: "Take another revision of it",
  });
}

/** The one that is named; else the usual one, else the only one. */
function pick<T extends { name: string }>(
  all: T[],
  { repo, what, named, usual }: { repo: string; what: string; named?: string; usual: (one: T) => boolean },
): T {
  const found = named !== undefined ? all.find(({ name }) => name === named) : all.find(usual);
  if (found) return found;
  if (named === undefined && all.length === 1) return all[0];
  const names = all.map(({ name }) => name), more = names.length - 20;
  const list = names.slice(0, 20).join(", ") + (more > 0 ? ` and ${more} more` : "");
  throw named === undefined
    ? new UserError(`${repo} has ${all.length} ${what}s, and none was chosen`, {
      hint: `Choose one of: ${list}; as ${repo}:${names[0]}${what === "split" ? "" : "/"}`,
    })
    : new UserError(`${repo} has no ${what} ${named}`, { hint: `There are: ${list}` });
}

/** Characters of a card's YAML that are read; the longest known have a tenth. */
const mostHead = 1 << 20;

function configsOf(card: string): CardConfig[] {
  const head = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---/.exec(card)?.[1];
  if (head === undefined || nestsKeys(head)) return [];
  let configs: unknown;
  try {
    configs = parse(head.slice(0, mostHead), { logLevel: "error" })?.configs;
  } catch {
    return []; // A card is for people; its paths tell as much.
  }
  return Array.isArray(configs) ? configs.map(configOf).filter(({ splits }) => splits.length > 0) : [];
}

function configOf(json: Record<string, unknown> | null): CardConfig {
  const { config_name, data_files, data_dir, default: isDefault } = json ?? {};
  const folder = typeof data_dir === "string" ? data_dir.replace(/^\.?\/|\/$/g, "") + "/" : "";
  const texts = (value: unknown) =>
    [value].flat().filter((one) => typeof one === "string").map((path) => folder + path.replace(/^\.\//, ""));
  const splits = new Map<string, string[]>();
  for (const entry of [data_files].flat()) {
    const { split, path } = typeof entry === "string"
      ? { split: "train", path: entry }
      : (entry ?? {}) as Record<string, unknown>;
    if (typeof split === "string") splits.set(split, [...splits.get(split) ?? [], ...texts(path)]);
  }
  return {
    name: String(config_name ?? "default"),
    isDefault: isDefault === true,
    splits: Array.from(splits, ([name, patterns]) => ({ name, patterns })).filter(({ patterns }) =>
      patterns.length > 0
    ),
  };
}
