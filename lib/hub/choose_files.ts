/**
 * Which files of a model's repository are wanted, from their names alone: a folder of safetensors with what belongs to
 * it, or one GGUF file with its parts. Works on the hub's listing and on what is cached alike.
 */
import { UserError } from "../errors.ts";
import { inUnits } from "../files/space.ts";
import type { RepoName } from "./repo_name.ts";

export interface Choice {
  kind: "safetensors" | "gguf" | "data";
  /** What is fetched first: configuration, tokenizer and templates, the index of the weights, a dataset's card. */
  small: string[];
  /** Weights or rows, as the small files tell which; `read` gives the text of one of these. */
  large: (read: (path: string) => string) => string[];
}

type Named = Pick<RepoName, "repo" | "quant" | "file">;
type Sized = { path: string; size: number };

const weightIndex = "model.safetensors.index.json";

/** What makes a folder a model, for ftl and for transformers. */
const smallFiles = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  weightIndex,
];

/** What of the weights is taken first: good answers for their size, and what most machines have room for. */
const preferred = (
  "Q4_K_M Q4_K_S Q4_K_L Q4_K Q4_1 Q4_0 Q5_K_M Q5_K_S Q5_1 Q5_0 Q6_K Q8_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M BF16 F16 FP16 F32"
).split(" ");

/** Throws UserError when there is nothing that ftl reads, or not what was asked for. */
export function chooseFiles(files: Sized[], name: Named): Choice {
  const paths = new Set(files.map(({ path }) => path));
  if (name.quant !== undefined || name.file !== undefined) return ggufChoice(files, name);
  const single = paths.has("model.safetensors");
  if (single || paths.has(weightIndex)) {
    const small = smallFiles.filter((path) => paths.has(path) && !(single && path === weightIndex));
    for (const needed of ["config.json", "tokenizer.json"]) {
      if (!paths.has(needed)) throw lacking(needed, paths, name);
    }
    return {
      kind: "safetensors",
      small,
      large: single ? () => ["model.safetensors"] : (read) => shardsOf(read(weightIndex), name),
    };
  }
  if (ggufFiles(files).length > 0) return ggufChoice(files, name);
  throw noWeights(paths, name);
}

/** Files of weights in an index's text. UserError when it is none. */
function shardsOf(text: string, name: Named): string[] {
  let map: unknown;
  try {
    map = JSON.parse(text)?.weight_map;
  } catch {
    // Reported below.
  }
  const shards = map && typeof map === "object" ? [...new Set(Object.values(map))].sort() : [];
  if (shards.length > 0 && shards.every((file) => typeof file === "string" && /^[\w.-]+\.safetensors$/.test(file))) {
    return shards;
  }
  throw new UserError(`${weightIndex} of ${name.repo} does not say which files hold the weights`, {
    hint: "The repository is damaged: take another revision or another copy of the model",
  });
}

interface Gguf {
  /** Without the number of a part: "Q4_K_M/model-Q4_K_M". */
  stem: string;
  /** "Q4_K_M", or "" where the name does not tell. */
  quant: string;
  parts: string[];
  /** Parts there should be. */
  count: number;
  bytes: number;
}

/** The models among the GGUF files: not the image encoders and importance matrices that lie beside them. */
function ggufFiles(files: Sized[]): Gguf[] {
  const found = new Map<string, Gguf>();
  for (const { path, size } of [...files].sort((a, b) => a.path < b.path ? -1 : 1)) {
    if (!/\.gguf$/i.test(path) || /(^|[/_.-])(mmproj|imatrix)([_.-]|$)/i.test(path)) continue;
    const match = /^(.*?)(?:-\d{5}-of-(\d{5}))?\.gguf$/i.exec(path)!;
    const stem = match[1];
    const gguf = found.get(stem) ??
      { stem, quant: quantOf(stem), parts: [], count: Number(match[2] ?? 1), bytes: 0 };
    found.set(stem, gguf);
    gguf.parts.push(path);
    gguf.bytes += size;
  }
  return [...found.values()];
}

/** The last word of a file's name that is the name of a quantisation: "Q4_K_M", or "". */
export function quantOf(path: string): string {
  const words = path.slice(path.lastIndexOf("/") + 1).match(
    /(?<![a-z0-9])(?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)(?![a-z0-9])/gi,
  );
  return words?.at(-1)?.toUpperCase() ?? "";
}

/** The parts of one GGUF file, in their order. */
function ggufChoice(files: Sized[], { repo, quant, file }: Named): Choice {
  const all = ggufFiles(files);
  const chosen = file !== undefined
    ? all.find(({ stem, parts }) => parts.includes(file) || `${stem}.gguf` === file)
    : quant !== undefined
    ? all.find((gguf) => gguf.quant === quant.toUpperCase())
    : defaultGguf(all);
  if (!chosen) {
    if (all.length === 0) {
      throw new UserError(`${repo} has no GGUF files`, { hint: `Name it without ${file ?? quant}` });
    }
    const list = all.map((gguf) => `${gguf.quant || `${gguf.stem}.gguf`} (${inUnits(gguf.bytes)})`).join(", ");
    throw new UserError(`${repo} has no ${file ?? quant}`, { hint: `There are: ${list}` });
  }
  if (chosen.parts.length !== chosen.count) {
    throw new UserError(`${repo} has ${chosen.parts.length} of the ${chosen.count} parts of ${chosen.stem}.gguf`, {
      hint: "Name another file of it",
    });
  }
  return { kind: "gguf", small: [], large: () => chosen.parts };
}

function defaultGguf(all: Gguf[]): Gguf | undefined {
  for (const quant of preferred) {
    const found = all.find((gguf) => gguf.quant === quant);
    if (found) return found;
  }
  return all.toSorted((a, b) => a.bytes - b.bytes)[0];
}

function lacking(needed: string, paths: Set<string>, { repo }: Named): UserError {
  const old = needed === "tokenizer.json" && paths.has("tokenizer.model");
  return new UserError(`${repo} has no ${needed}${old ? ", only tokenizer.model, which ftl does not read" : ""}`, {
    hint: "Take another copy of this model, converted for current transformers, or a GGUF version of it",
  });
}

function noWeights(paths: Set<string>, { repo }: Named): UserError {
  const has = (pattern: RegExp) => [...paths].some((path) => pattern.test(path));
  if (paths.has("adapter_config.json")) {
    return new UserError(`${repo} is an adapter, not a model`, {
      hint: "Pull its base model, named in its adapter_config.json, and give --adapter a folder with the adapter",
    });
  }
  if (has(/\.(bin|pt|pth)$/)) {
    return new UserError(`${repo} has its weights as pickled PyTorch files (.bin), which ftl does not read`, {
      hint: "Look for a version of the model in safetensors or GGUF",
    });
  }
  const others = has(/\.safetensors$/) ? "safetensors, but not of a language model (model.safetensors)" : "no weights";
  return new UserError(`${repo} has ${others}`, {
    hint: "ftl reads folders with model.safetensors (or its shards and their index), and GGUF files",
  });
}
