/** Copying saved optimiser state into the live arrays, name by name and length by length. */
import type { OptimizerState } from "./optimizer.ts";

/** Overwrites every tensor of `live` with `saved`'s of the same name. Throws Error when they do not match exactly. */
export function copyTensors(live: OptimizerState["tensors"], saved: OptimizerState["tensors"]): void {
  for (const [name, target] of live) {
    const source = saved.get(name);
    if (!source) throw new Error(`optimiser state "${name}" is missing`);
    if (source.length !== target.length || source.constructor !== target.constructor) {
      throw new Error(
        `optimiser state "${name}" has ${source.length} elements of ${source.constructor.name}, ` +
          `${target.length} of ${target.constructor.name} are needed`,
      );
    }
    target.set(source);
  }
  for (const name of saved.keys()) if (!live.has(name)) throw new Error(`optimiser state "${name}" is unknown`);
}
