/** The refusal of NaN and infinity that the quantisers share: a scale made of one would spoil a whole block silently. */
import { UserError } from "../errors.ts";

/** f32 pattern of infinity: finite magnitudes are below it, and order as integers like the floats they are. */
export const infinityBits = 0x7f800000;

/** The error for the first value at or after `start` that is not finite. There must be one. */
export function notFinite(x: Float32Array, where: { start: number; name?: string }): UserError {
  let index = where.start;
  while (Number.isFinite(x[index])) index++;
  return new UserError(
    `Cannot quantise ${where.name ? `tensor "${where.name}"` : "the weights"}: element ${index} is ${x[index]}`,
    { hint: "The model file is damaged or its training diverged: fetch it again or take another one." },
  );
}
