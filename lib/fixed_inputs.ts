/** Inputs that all runs of a segment share (`Segment.fixed`): looked at once, and known by numbers after that. */
import type { Value } from "./ops.ts";

export interface FixedInputs<V> {
  /** Stands for where they lie. */
  id: number;
  /** Stands for their names and signatures: those of another layer may have the same. */
  signature: number;
  values: Record<string, V>;
}

export function makeFixedInputs<V extends Value & { signature: string }>(): (
  inputs: Readonly<Record<string, Value>>,
) => FixedInputs<V> {
  const known = new WeakMap<Readonly<Record<string, Value>>, FixedInputs<V>>(), signatures = new Map<string, number>();
  let count = 0;
  return (inputs) => {
    let found = known.get(inputs);
    if (!found) {
      const values = inputs as Record<string, V>;
      const text = Object.entries(values).map(([name, { signature }]) => `${name}:${signature}`).join("|");
      const signature = signatures.get(text) ?? signatures.set(text, signatures.size).size - 1;
      known.set(inputs, found = { id: ++count, signature, values });
    }
    return found;
  };
}
