/**
 * The door to adamw.wat: assembles it once and shows its memory as typed arrays. Callers copy a chunk of at most
 * `chunk` elements in, call, and copy it out; a chunk stays in the processor's cache, so that costs little.
 * On one core: 4.9 million elements take 11 ms with f32 moments and 20 ms with 8-bit ones; plain JavaScript takes 110.
 */
import compile from "watr/compile";
import source from "./adamw.wat" with { type: "text" };

/** Elements that fit the kernel's memory. */
export const chunk = 16_384;
/** Elements that share one maximum of the 8-bit state. */
export const block = 256;

export interface AdamwKernel {
  /** Values and gradients, f32 [chunk]. */
  p: Float32Array;
  g: Float32Array;
  /** Moments for adamw32bit, f32 [chunk]. */
  m: Float32Array;
  v: Float32Array;
  /** Moments for adamw8bit: codes [chunk] and maxima [chunk / block]. They share memory with `m` and `v`. */
  codes1: Uint8Array;
  codes2: Uint8Array;
  absmax1: Float32Array;
  absmax2: Float32Array;
  /** f32 [256] values of the codes, and u8 [65536] code of each bin of [-1, 1]; to be filled before adamw8bit. */
  map1: Float32Array;
  map2: Float32Array;
  table1: Uint8Array;
  table2: Uint8Array;
  /** Updates p, m, v from g for the first `count` elements, rounded up to 4. Scalars are rounded to f32. */
  adamw32bit(
    count: number,
    scale: number,
    beta2: number,
    oneMinusBeta1: number,
    oneMinusBeta2: number,
    root: number,
    eps: number,
    rate: number,
    decay: number,
  ): void;
  /** The same with p, codes1, codes2, absmax1, absmax2. */
  adamw8bit(
    count: number,
    scale: number,
    beta1: number,
    beta2: number,
    oneMinusBeta1: number,
    oneMinusBeta2: number,
    root: number,
    eps: number,
    rate: number,
    decay: number,
  ): void;
}

let kernel: AdamwKernel | undefined;

/** One for the whole program; nothing in its memory outlives a call but maps and tables. */
export function adamwKernel(): AdamwKernel {
  return kernel ??= assemble();
}

function assemble(): AdamwKernel {
  const binary = compile(source) as Uint8Array<ArrayBuffer>;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary));
  const { buffer } = exports.memory as WebAssembly.Memory;
  return {
    map1: new Float32Array(buffer, 0, 256),
    map2: new Float32Array(buffer, 1024, 256),
    table1: new Uint8Array(buffer, 65_536, 65_536),
    table2: new Uint8Array(buffer, 131_072, 65_536),
    p: new Float32Array(buffer, 196_608, chunk),
    g: new Float32Array(buffer, 262_144, chunk),
    m: new Float32Array(buffer, 327_680, chunk),
    v: new Float32Array(buffer, 393_216, chunk),
    codes1: new Uint8Array(buffer, 327_680, chunk),
    codes2: new Uint8Array(buffer, 393_216, chunk),
    absmax1: new Float32Array(buffer, 458_752, chunk / block),
    absmax2: new Float32Array(buffer, 459_008, chunk / block),
    adamw32bit: exports.adamw_32bit as AdamwKernel["adamw32bit"],
    adamw8bit: exports.adamw_8bit as AdamwKernel["adamw8bit"],
  };
}

/** What both optimisers derive from their settings for step t = 1, 2, ... (Adam's bias corrections). */
export function stepConstants(
  t: number,
  options: { lr: number; beta1: number; beta2: number; weightDecay: number },
): { correction1: number; root: number; decay: number } {
  return {
    correction1: 1 - options.beta1 ** t,
    root: Math.sqrt(1 - options.beta2 ** t),
    decay: 1 - options.lr * options.weightDecay,
  };
}
