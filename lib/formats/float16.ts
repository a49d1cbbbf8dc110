/**
 * IEEE half precision and bfloat16 as 16-bit patterns, to and from f32.
 * Narrowing rounds to nearest, ties to even; half overflows to infinity; a NaN stays a (quiet) NaN with its sign.
 * Pure arithmetic on typed arrays: byte order is the machine's, which is little-endian wherever this runs.
 */

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);

/** f32 value of each of the 65,536 half patterns: one load per element instead of bit arithmetic. */
export const halfToFloat: Float32Array = buildHalfTable();

function buildHalfTable(): Float32Array {
  const table = new Float32Array(65536);
  const bits = new Uint32Array(table.buffer);
  for (let h = 0; h < 65536; h++) {
    const exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent === 31) bits[h] = 0x7f800000 | (mantissa << 13);
    else table[h] = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
    bits[h] |= (h & 0x8000) << 16;
  }
  return table;
}

/** Half patterns [N] -> f32 [N], into `out` when given. */
export function f16ToF32(half: Uint16Array, out: Float32Array = new Float32Array(half.length)): Float32Array {
  for (let i = 0; i < half.length; i++) out[i] = halfToFloat[half[i]];
  return out;
}

/** f32 [N] -> half patterns [N], into `out` when given. */
export function f32ToF16(x: Float32Array, out: Uint16Array = new Uint16Array(x.length)): Uint16Array {
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let i = 0; i < x.length; i++) out[i] = halfOfBits(bits[i]);
  return out;
}

/** The half pattern nearest to one number. */
export function toHalf(x: number): number {
  scratchF32[0] = x;
  return halfOfBits(scratchU32[0]);
}

/** Half pattern of an f32 pattern. */
function halfOfBits(f: number): number {
  const sign = (f >>> 16) & 0x8000, magnitude = f & 0x7fffffff;
  if (magnitude >= 0x38800000 && magnitude < 0x47800000) {
    // Normal: rebias the exponent by 15 - 127, then round the 13 dropped bits; a carry runs into the exponent rightly,
    // up to infinity.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff); // NaN
  if (magnitude >= 0x47800000) return sign | 0x7c00; // 65536 and above
  if (magnitude <= 0x33000000) return sign; // 2^-25 and below: the tie at 2^-25 goes to even zero
  const exponent = magnitude >>> 23;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent; // value = mantissa * 2^(exponent-150), a subnormal counts units of 2^-24
  const half = mantissa >>> shift, rest = mantissa & ((1 << shift) - 1), tie = 1 << (shift - 1);
  return sign | (half + (rest > tie || (rest === tie && (half & 1)) ? 1 : 0));
}

/** bfloat16 patterns [N] -> f32 [N], into `out` when given. Exact. */
export function bf16ToF32(half: Uint16Array, out: Float32Array = new Float32Array(half.length)): Float32Array {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < half.length; i++) bits[i] = half[i] << 16;
  return out;
}

/** f32 [N] -> bfloat16 patterns [N], into `out` when given. */
export function f32ToBf16(x: Float32Array, out: Uint16Array = new Uint16Array(x.length)): Uint16Array {
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let i = 0; i < x.length; i++) {
    const f = bits[i];
    out[i] = (f & 0x7fffffff) > 0x7f800000 ? (f >>> 16) | 0x40 : (f + 0x7fff + ((f >>> 16) & 1)) >>> 16;
  }
  return out;
}
