/**
 * The optimisers as plain loops over elements, each f32 operation written out: what the vectorised kernel must give bit
 * for bit. `sqrt` can be replaced, since the maths library behind a reference run may round it differently.
 */
import { dynamicMap } from "../../lib/quant/dynamic_map.ts";

const f32 = Math.fround;
const map1 = dynamicMap(true), map2 = dynamicMap(false);

export interface Moments8bit {
  codes1: Uint8Array;
  codes2: Uint8Array;
  absmax1: Float32Array;
  absmax2: Float32Array;
}

export interface StepOptions {
  t: number;
  lr: number;
  weightDecay: number;
  gradScale?: number;
  sqrt?: (x: number) => number;
}

export const exactSqrt = (x: number) => f32(Math.sqrt(x));

/** The f32 neighbour of a positive f32, `ulps` away. */
export function neighbour(x: number, ulps: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  view.setInt32(0, view.getInt32(0) + ulps);
  return view.getFloat32(0);
}

export function emptyMoments8bit(length: number): Moments8bit {
  const blocks = Math.ceil(length / 256);
  return {
    codes1: new Uint8Array(length),
    codes2: new Uint8Array(length),
    absmax1: new Float32Array(blocks),
    absmax2: new Float32Array(blocks),
  };
}

/** bitsandbytes 0.50 on a CPU; changes p and the moments in place. */
export function adamw8bitStep(p: Float32Array, state: Moments8bit, g: Float32Array, options: StepOptions): void {
  const { t, lr, weightDecay, gradScale = 1, sqrt = exactSqrt } = options;
  const root = f32(Math.sqrt(1 - 0.999 ** t)), rate = f32(-lr / (1 - 0.9 ** t)), decay = f32(1 - lr * weightDecay);
  const m = new Float32Array(p.length), v = new Float32Array(p.length);
  for (let i = 0; i < p.length; i++) {
    const scaled = f32(g[i] * f32(gradScale));
    const m0 = f32(map1[state.codes1[i]] * state.absmax1[i >> 8]);
    const v0 = f32(map2[state.codes2[i]] * state.absmax2[i >> 8]);
    m[i] = f32(f32(1 - 0.9) * scaled + f32(m0 * f32(0.9)));
    v[i] = f32(f32(f32(1 - 0.999) * scaled) * scaled + f32(v0 * f32(0.999)));
    const denominator = f32(f32(sqrt(v[i]) / root) + f32(1e-8));
    p[i] = f32(f32(p[i] * decay) + f32(f32(rate * m[i]) / denominator));
  }
  encode(m, { map: map1, codes: state.codes1, absmax: state.absmax1 });
  encode(v, { map: map2, codes: state.codes2, absmax: state.absmax2 });
}

/** Codes by the library's rule, without its table: the number of midpoints below the centre of the value's bin. */
function encode(x: Float32Array, out: { map: Float32Array; codes: Uint8Array; absmax: Float32Array }): void {
  for (let start = 0, b = 0; start < x.length; start += 256, b++) {
    const block = x.subarray(start, start + 256);
    out.absmax[b] = block.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    for (let i = 0; i < block.length; i++) {
      if (out.absmax[b] === 0) {
        out.codes[start + i] = 0;
        continue;
      }
      const y = Math.min(1, Math.max(-1, f32(block[i] * f32(1 / out.absmax[b]))));
      const bin = Math.floor(f32(f32(y + 1) * 0.5 * 65535 + 0.5));
      const centre = f32(f32((2 * bin) / 65535) - 1);
      let code = 0;
      while (code < 255 && f32(0.5 * f32(out.map[code] + out.map[code + 1])) < centre) code++;
      out.codes[start + i] = code;
    }
  }
}

/** bitsandbytes' form for tensors under 4,096 elements. */
export function adamwSmallStep(
  p: Float32Array,
  moments: { m: Float32Array; v: Float32Array },
  g: Float32Array,
  options: StepOptions,
): void {
  const { t, lr, weightDecay, sqrt = exactSqrt } = options;
  const { m, v } = moments, root = Math.sqrt(1 - 0.999 ** t);
  for (let i = 0; i < p.length; i++) {
    m[i] = f32(f32(1 - 0.9) * g[i] + f32(m[i] * f32(0.9)));
    v[i] = f32(f32(f32(1 - 0.999) * g[i]) * g[i] + f32(v[i] * f32(0.999)));
    const update = f32(m[i] / f32(sqrt(v[i]) + f32(1e-8 * root)));
    p[i] = f32(update * f32((-lr * root) / (1 - 0.9 ** t)) + f32(p[i] * f32(1 - lr * weightDecay)));
  }
}

/** torch.optim.AdamW, textbook form in float64: p, m and v are double arrays. */
export function adamwFloat64Step(
  p: Float64Array,
  moments: { m: Float64Array; v: Float64Array },
  g: Float32Array,
  options: StepOptions,
): void {
  const { t, lr, weightDecay, gradScale = 1 } = options, { m, v } = moments;
  for (let i = 0; i < p.length; i++) {
    const scaled = g[i] * gradScale;
    m[i] = 0.9 * m[i] + (1 - 0.9) * scaled;
    v[i] = 0.999 * v[i] + (1 - 0.999) * scaled * scaled;
    const corrected = m[i] / (1 - 0.9 ** t) / (Math.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8);
    p[i] = p[i] * (1 - lr * weightDecay) - lr * corrected;
  }
}
