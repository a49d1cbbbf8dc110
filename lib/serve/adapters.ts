/** The models that requests may ask for: a base and adapters on it, which come and go while others answer. */
import { UserError } from "../errors.ts";
import { attachAdapter } from "../model/adapter.ts";
import type { Decoder, Generator } from "../model/decode.ts";
import { loadAdapter } from "../model/load_adapter.ts";
import type { ServedModel } from "./engine.ts";

/** A model that answers. Its identity says whose cached tokens are whose: an adapter that comes back is another one. */
export interface Answering {
  about: ServedModel;
  generator: Generator;
  decode: Decoder;
}

/** Reads an adapter and puts it on the base. UserError when the folder holds none for it. */
export async function readAdapter(base: Generator, folder: string): Promise<{ generator: Generator; created: number }> {
  const { executor, weights, config } = base;
  const { parameters, settings } = loadAdapter(folder, config);
  const adapter = await attachAdapter(parameters, { executor, weights, config, settings });
  const time = Deno.statSync(`${folder}/adapter_model.safetensors`).mtime ?? new Date(0);
  return { generator: { ...base, adapter }, created: Math.floor(time.getTime() / 1000) };
}

export function releaseAdapter({ executor, adapter }: Generator): void {
  executor.release(...adapter?.layers.flatMap((layer) => Object.values(layer)) ?? []);
}

/** Served models by their names. */
export function makeRegister(base: Answering) {
  const all = new Map([[base.about.id, base]]);
  const names = () => new Set([...all.values()].flatMap(({ about: { id, aliases } }) => [id, ...aliases]));
  return {
    all: () => [...all.values()],
    find(id: string): Answering {
      const found = all.get(id);
      if (found) return found;
      throw new UserError(`There is no model "${id}"`, { hint: `there is ${[...names()].join(", ")}` });
    },
    /** Throws where a name is taken. */
    checkFree(wanted: string[]): void {
      const taken = names(), twice = wanted.find((name) => taken.has(name));
      if (twice !== undefined) {
        throw new UserError(`There is a model "${twice}" already`, { hint: "choose another name" });
      }
    },
    add: (model: Answering) => void all.set(model.about.id, model),
    remove(id: string): Answering {
      const found = this.find(id);
      if (found === base) throw new UserError(`"${id}" is the base model: it cannot be removed`);
      all.delete(id);
      return found;
    },
  };
}
