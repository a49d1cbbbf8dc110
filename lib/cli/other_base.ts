/** One line where an adapter was made on another base model than the one it is put on: shapes alone do not show that. */
import { knownName, originalName } from "../hub/models.ts";
import { adapterBaseModel } from "../model/load_adapter.ts";

/** Warns on stderr. `model` is what the base was called on the command line, `name` what its files call it. */
export function warnOfOtherBase(adapter: string, { model, name }: { model: string; name: string }): void {
  const base = adapterBaseModel(adapter);
  if (base === null || isSameModel(base, [model, name])) return;
  console.error(`note: the adapter ${adapter} was made on ${base}, not on ${model}: on other weights it is noise`);
}

/** Whether a base model's name or path can mean the same model as one of these. */
export function isSameModel(base: string, others: string[]): boolean {
  const spellings = (name: string) => [name, originalName(name), knownName(name)].map(plainName);
  const own = spellings(base);
  return others.some((other) => spellings(other).some((name) => own.includes(name)));
}

/**
 * A model's name without what differs between copies of the same weights: owner or folder, file type, 4-bit or GGUF
 * packaging. "unsloth/Meta-Llama-3.1-8B-bnb-4bit" -> "llama-3-1-8b", also of a path in the hub's cache.
 */
function plainName(name: string): string {
  const cached = /models--[^/\\]+?--([^/\\]+)[/\\]snapshots[/\\]/.exec(`${name}/`)?.[1];
  const last = cached ?? name.replace(/[\\/]+$/, "").split(/[\\/]/).at(-1)!;
  return last.toLowerCase()
    .replace(/\.gguf$/, "")
    .replace(/[-._](i?q\d\w*|b?f16|f32|fp16)$/, "")
    .replace(/-(unsloth-)?bnb-4bit$/, "")
    .replace(/-gguf$/, "")
    .replace(/^meta-(?=llama)/, "")
    .replace(/[^a-z0-9]+/g, "-");
}
