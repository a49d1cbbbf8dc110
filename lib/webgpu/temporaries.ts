/**
 * Places for the results that do not leave a segment: each temporary gets a slot for as long as it is read, slots are
 * used again. Pure arithmetic over the list of dispatches.
 */
import type { Dispatch } from "./dispatch.ts";
import type { Virtual } from "./lower.ts";

export interface TemporaryPlan {
  /** Bytes of each slot. */
  slots: number[];
  /** Slot of each temporary. */
  slotOf: Map<number, number>;
}

/** `bytesOf` says what a temporary needs; a slot serves any that need no more than it has. */
export function planTemporaries(dispatches: Dispatch<Virtual>[], bytesOf: (tensor: Virtual) => number): TemporaryPlan {
  const last = new Map<number, number>();
  dispatches.forEach(({ tensors }, i) => {
    for (const tensor of tensors) if (tensor && "temp" in tensor.place) last.set(tensor.place.temp, i);
  });
  const slots: number[] = [], slotOf = new Map<number, number>();
  let free: number[] = [];
  dispatches.forEach(({ tensors }, i) => {
    for (const tensor of tensors) {
      if (!tensor || !("temp" in tensor.place) || slotOf.has(tensor.place.temp)) continue;
      const { place } = tensor;
      const bytes = bytesOf(tensor);
      // The smallest that fits, else the largest there is, made larger.
      const best = free.toSorted((a, b) => slots[a] - slots[b]).find((slot) => slots[slot] >= bytes) ??
        free.toSorted((a, b) => slots[b] - slots[a])[0];
      const slot = best ?? slots.push(0) - 1;
      slots[slot] = Math.max(slots[slot], bytes);
      free = free.filter((other) => other !== slot);
      slotOf.set(place.temp, slot);
    }
    const ended = new Set<number>();
    for (const tensor of tensors) {
      if (tensor && "temp" in tensor.place && last.get(tensor.place.temp) === i) ended.add(tensor.place.temp);
    }
    for (const temp of ended) free.push(slotOf.get(temp)!);
  });
  return { slots, slotOf };
}
