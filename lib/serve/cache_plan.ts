/** How many requests a cache has room for at once, and how long each may become, within a limit of memory. */
import { UserError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import { cacheWidth } from "../model/kv_cache.ts";

export interface CachePlan {
  slots: number;
  contextLength: number;
  bytes: number;
}

/** Lengths are multiples of this, but for the model's own limit. */
const step = 64;

/**
 * The wanted slots and length where they fit. Where they do not, fewer slots first, since a prompt that does not fit is
 * refused and one that waits is not; then shorter ones. UserError where nothing fits.
 */
export function planCache(
  config: ModelConfig,
  wanted: { memory: number; slots: number; contextLength: number; bytesPerNumber: number },
): CachePlan {
  const token = cacheWidth(config) * wanted.bytesPerNumber, fit = Math.floor(wanted.memory / token);
  const most = Math.min(wanted.contextLength, config.maxPositions);
  const slots = Math.max(1, Math.min(wanted.slots, Math.floor(fit / (Math.ceil(most / step) * step))));
  const room = Math.floor(fit / slots / step) * step, contextLength = Math.min(most, room);
  if (contextLength < 1) {
    throw new UserError(
      `No memory for a cache of keys and values: ${step} tokens take ${Math.ceil(step * token / 2 ** 20)} MiB`,
      { hint: "allow more memory, or use a smaller model" },
    );
  }
  return { slots, contextLength, bytes: slots * Math.ceil(contextLength / step) * step * token };
}
