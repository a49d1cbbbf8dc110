/** What `ftl serve` serves: the base and its adapters, their names, and how each wants to be asked. */
import { basename, dirname, join } from "node:path";
import { alpacaPrompt } from "../data/prompt.ts";
import { UserError } from "../errors.ts";
import { kindOfPath } from "../model/model_files.ts";
import type { PromptForm } from "../serve/service.ts";
import type { Message } from "../text/chat_template.ts";
import type { Settings } from "./options.ts";
import { runFiles } from "./run_folder.ts";
import type { PromptStyle } from "./rows.ts";
import { lookUp, type Named, noAdapter } from "./saved_run.ts";

export interface ServePlan {
  /** Name or path of the base model. */
  model: string;
  base: { id: string; aliases: string[] };
  adapters: { id: string; folder: string; aliases: string[]; style: PromptStyle | null }[];
  /** The id that foreign names get: the first adapter, which is what one trained for. */
  defaultModel: string;
}

/** Errors: UserError when a folder has no adapter, or an alias names no model. */
export function planServing(
  what: string | undefined,
  settings: Pick<Settings<"serve">, "base" | "adapter" | "alias">,
): ServePlan {
  const named = lookUp(what ?? lastRun() ?? "smollm2-135m", { base: settings.base });
  const base = { id: named.name, aliases: [] as string[] };
  const adapters: ServePlan["adapters"] = [];
  const add = ({ adapter, folder, style }: Named) => {
    const id = freeName(adapterName(folder!), [base, ...adapters].map(({ id }) => id));
    adapters.push({ id, folder: adapter!, aliases: [], style });
  };
  if (named.adapter !== null) add(named);
  for (const folder of settings.adapter) {
    const found = lookUp(folder, { base: named.model });
    if (found.adapter === null) throw noAdapter(folder);
    add(found);
  }
  const models = [base, ...adapters];
  const first = adapters[0] ?? base;
  for (const alias of settings.alias) {
    const [name, id] = alias.includes("=") ? alias.split("=", 2) : [alias, first.id];
    const model = models.find((each) => each.id === id);
    if (!model || name === "" || models.some((each) => each.id === name)) {
      throw new UserError(`--alias ${alias}: ${model ? "the name is taken" : `no model ${id} is served`}`, {
        hint: `served are ${models.map((each) => each.id).join(", ")}`,
        exitCode: 2,
      });
    }
    model.aliases.push(name);
  }
  return { model: named.model, base, adapters, defaultModel: first.id };
}

/** A run's adapter has the run's name. */
function adapterName(folder: string): string {
  const path = Deno.realPathSync(folder);
  return basename(path) === runFiles.adapter ? basename(dirname(path)) : basename(path);
}

function freeName(name: string, taken: string[]): string {
  if (!taken.includes(name)) return name;
  for (let n = 2;; n++) if (!taken.includes(`${name}-${n}`)) return `${name}-${n}`;
}

/** The run in runs/ whose adapter was written last. */
export function lastRun(parent = "runs"): string | undefined {
  if (kindOfPath(parent) !== "folder") return undefined;
  const times = [...Deno.readDirSync(parent)].flatMap(({ name }) => {
    const folder = join(parent, name), config = join(folder, runFiles.adapter, "adapter_config.json");
    if (kindOfPath(config) !== "file" || kindOfPath(join(folder, runFiles.config)) !== "file") return [];
    return [{ folder, time: Deno.statSync(config).mtime?.getTime() ?? 0 }];
  });
  return times.sort((a, b) => b.time - a.time || a.folder.localeCompare(b.folder))[0]?.folder;
}

/** How a model of the plan is asked: as its run was trained, else by the base's chat template. */
export function promptFormOf(
  { adapters }: ServePlan,
  { template, style }: { template: string | null; style: Settings<"serve">["prompt_style"] },
): (model: string) => PromptForm {
  return (id) => {
    const own = style === "auto" ? adapters.find((adapter) => adapter.id === id)?.style ?? null : style;
    if (own !== "alpaca" && own !== "alpaca-short") return { template };
    return { template, write: (messages) => alpacaText(messages, own) };
  };
}

/** As `ftl run` asks: the last question, with a system message as its input. */
function alpacaText(messages: Message[], style: "alpaca" | "alpaca-short"): string {
  const instruction = messages[messages.length - 1].content;
  const input = messages.find(({ role }) => role === "system")?.content ?? "";
  return alpacaPrompt({ instruction, input }, style);
}
