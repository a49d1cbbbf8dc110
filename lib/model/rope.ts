/**
 * Rotary embedding as tables: frequencies by the scalings that stretch a model's context, and their cosines and sines.
 * Every executor takes the tables as they are.
 *
 * Formulas: https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py
 */
import type { Rope, RopeScaling } from "./config.ts";

/** cos and sin of position * frequency, times YaRN's attention factor, [positions, headDim/2], f32. */
export function ropeTables(
  rope: Rope,
  headDim: number,
  positions: ArrayLike<number>,
): { cos: Float32Array; sin: Float32Array } {
  const half = headDim / 2, frequencies = ropeFrequencies(rope, headDim);
  const factor = rope.scaling.type === "yarn" ? rope.scaling.attentionFactor : 1;
  const cos = new Float32Array(positions.length * half), sin = new Float32Array(positions.length * half);
  for (let t = 0; t < positions.length; t++) {
    for (let i = 0; i < half; i++) {
      // PyTorch multiplies in f32; with the same rounding of the angle long positions agree too.
      const angle = Math.fround(positions[t] * frequencies[i]);
      cos[t * half + i] = Math.cos(angle) * factor;
      sin[t * half + i] = Math.sin(angle) * factor;
    }
  }
  return { cos, sin };
}

/** theta^(-2i/headDim), scaled, [headDim/2]. */
export function ropeFrequencies({ theta, scaling }: Rope, headDim: number): Float32Array {
  const frequencies = Float32Array.from({ length: headDim / 2 }, (_, i) => 1 / Math.pow(theta, 2 * i / headDim));
  switch (scaling.type) {
    case "none":
      return frequencies;
    case "linear":
      return frequencies.map((f) => f / scaling.factor);
    case "factors":
      return frequencies.map((f, i) => f / scaling.factors[i]);
    case "llama3":
      return frequencies.map((f) => {
        const kept = llama3Kept(scaling, 2 * Math.PI / f);
        return (1 - kept) * f / scaling.factor + kept * f;
      });
    case "yarn": {
      const kept = yarnKept(scaling, { theta, headDim });
      return frequencies.map((f, i) => (1 - kept(i)) * f / scaling.factor + kept(i) * f);
    }
  }
}

/** Share of a frequency that llama3 scaling leaves as it is, by its wavelength: 1 for short ones, 0 for long ones. */
export function llama3Kept(scaling: Extract<RopeScaling, { type: "llama3" }>, wavelength: number): number {
  const { lowFreqFactor: low, highFreqFactor: high, originalMaxPositions } = scaling;
  return Math.min(1, Math.max(0, (originalMaxPositions / wavelength - low) / (high - low)));
}

/**
 * The same for YaRN (arXiv 2309.00071), by the pair's number: 1 below the pair that turns betaFast times within the
 * original context, 0 above the one that turns betaSlow times, linear between.
 */
function yarnKept(
  { originalMaxPositions, betaFast, betaSlow, truncate }: Extract<RopeScaling, { type: "yarn" }>,
  { theta, headDim }: { theta: number; headDim: number },
): (pair: number) => number {
  const pairOf = (turns: number) =>
    headDim * Math.log(originalMaxPositions / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
  const whole = (x: number, round: (x: number) => number) => truncate ? round(x) : x;
  const low = Math.max(whole(pairOf(betaFast), Math.floor), 0);
  const high = Math.min(whole(pairOf(betaSlow), Math.ceil), headDim - 1);
  const width = low === high ? 0.001 : high - low;
  return (pair) => 1 - Math.min(1, Math.max(0, (pair - low) / width));
}

/** YaRN's factor of cos and sin where a model does not give its own. */
export function yarnAttentionFactor(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}
