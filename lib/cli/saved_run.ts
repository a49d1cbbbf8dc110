/**
 * What a person may name where a model is wanted: a run folder, an adapter folder, or a model. Says which base model,
 * adapter and prompt style belong to it. Reads small files only; opening the model is load.ts's.
 */
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { knownName } from "../hub/models.ts";
import { kindOfPath, readJson, readText } from "../model/model_files.ts";
import { resolveTrain, type TrainSettings } from "./resolve.ts";
import type { PromptStyle } from "./rows.ts";
import { isRunFolder, runFiles, runName } from "./run_folder.ts";

export interface Named {
  /** Name or path of the base model. */
  model: string;
  /** Folder of the PEFT adapter, null for the model as it is. */
  adapter: string | null;
  /** How the adapter was trained to be asked; null where nothing says so. */
  style: PromptStyle | null;
  /** Where results belong: the run or adapter folder, null for a model. */
  folder: string | null;
  /** For file names: "smollm2-135m". */
  name: string;
}

/** Throws UserError when a run folder has no adapter yet, or an adapter does not say its base. */
export function lookUp(what: string, { base }: { base?: string | null } = {}): Named {
  if (isRunFolder(what)) {
    const settings = readRunSettings(what);
    const adapter = join(what, runFiles.adapter);
    if (kindOfPath(join(adapter, "adapter_config.json")) !== "file") {
      throw new UserError(`${what} has no trained adapter yet`, { hint: `finish it with ftl train --resume ${what}` });
    }
    const style = settings.prompt_style === "auto" ? null : settings.prompt_style;
    const model = base ?? settings.model;
    return { model, adapter, style, folder: what, name: runName(model) };
  }
  if (kindOfPath(join(what, "adapter_config.json")) === "file") {
    const model = base ?? baseOf(what);
    return { model, adapter: what, style: null, folder: what, name: runName(model) };
  }
  return { model: base ?? what, adapter: null, style: null, folder: null, name: runName(base ?? what) };
}

/** The refusal of what `option` named as an adapter. */
export function noAdapter(folder: string, option = "--adapter"): UserError {
  return new UserError(`${option} ${folder} holds no adapter`, {
    hint: /\.gguf$/i.test(folder)
      ? "GGUF adapters are not read: give the PEFT folder (adapter_config.json) that it was made from"
      : "give a run folder or a folder with adapter_config.json",
    exitCode: 2,
  });
}

/** The settings of an earlier run, from its config.yaml. */
export function readRunSettings(folder: string): TrainSettings {
  const path = join(folder, runFiles.config);
  return resolveTrain({ flags: {}, file: { text: readText(path), name: path } }).settings;
}

function baseOf(adapter: string): string {
  const path = join(adapter, "adapter_config.json");
  const config = readJson(path) as Record<string, unknown> | null;
  const base = config?.base_model_name_or_path;
  if (typeof base === "string" && base !== "") {
    const known = knownName(base), revision = config?.revision;
    return typeof revision === "string" && kindOfPath(known) === "nothing" ? `${known}@${revision}` : known;
  }
  throw new UserError(`${path} does not say its base model (base_model_name_or_path)`, {
    hint: "name it with --base",
  });
}
