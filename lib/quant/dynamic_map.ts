/**
 * bitsandbytes' 8-bit dynamic data type: 256 sorted f32 values in [-1, 1] (signed) or [0, 1] (unsigned), and the search
 * for a value's code. Double quantisation and the 8-bit optimiser share it. Pure functions on numbers and arrays.
 *
 * Source: bitsandbytes functional.py create_dynamic_map; csrc/cpu_ops.cpp build_quantize_lut.
 */

/**
 * The 256 values: for each decade 10^-6..10^0, the midpoints of 2^i (signed, with their negatives) or 2^(i+1) (unsigned)
 * equal steps from 0.1 to 1; plus 0 and 1. Signed: index 127 is 0. Unsigned: index 0 is 0.
 */
export function dynamicMap(signed: boolean): Float32Array<ArrayBuffer> {
  const values: number[] = [0, 1];
  for (let decade = 0; decade < 7; decade++) {
    const boundaries = linspaceF32(0.1, 1, 2 ** (signed ? decade : decade + 1));
    const power = 10 ** (decade - 6);
    for (let j = 0; j + 1 < boundaries.length; j++) {
      const mean = Math.fround(Math.fround(boundaries[j] + boundaries[j + 1]) / 2);
      const value = Math.fround(Math.fround(power) * mean);
      values.push(value);
      if (signed) values.push(-value);
    }
  }
  return new Float32Array(values).sort();
}

/**
 * torch.linspace in f32: `steps` + 1 points, the upper half counted back from the end, each with one rounding as a fused
 * multiply-add gives it.
 */
function linspaceF32(start: number, end: number, steps: number): Float32Array {
  const first = Math.fround(start), last = Math.fround(end);
  const step = Math.fround(Math.fround(last - first) / steps);
  const points = new Float32Array(steps + 1);
  for (let i = 0; i <= steps; i++) points[i] = 2 * i < steps ? first + step * i : last - step * (steps - i);
  return points;
}

/** A map's values cut into 65,536 equal bins of [-1, 1], as bitsandbytes' CPU library looks codes up. */
const tableBins = 65536;

/**
 * Code of each bin centre -1 + 2i/65535: the number of midpoints between neighbouring values below it. The bins are
 * coarser than the map near 0, so a tiny value may get a neighbour of its nearest code: that is what the library does.
 */
export function codeTable(map: Float32Array): Uint8Array {
  const table = new Uint8Array(tableBins);
  let code = 0;
  for (let i = 0; i < tableBins; i++) {
    const centre = Math.fround(-1 + Math.fround((2 * i) / (tableBins - 1)));
    while (code < 255 && Math.fround(0.5 * Math.fround(map[code] + map[code + 1])) < centre) code++;
    table[i] = code;
  }
  return table;
}

/** Bin of y, clamped to [-1, 1], every operation in f32. */
export function tableIndex(y: number): number {
  const clamped = y < -1 ? -1 : y > 1 ? 1 : y;
  const scaled = Math.fround(Math.fround(Math.fround(clamped + 1) * 0.5) * (tableBins - 1));
  return Math.fround(scaled + 0.5) | 0;
}

/** Nearest code by binary search over the map, the lower one on an exact tie: bitsandbytes' GPU kernels. */
export function nearestCode(map: Float32Array, y: number): number {
  let low = 0, high = 255;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (y > Math.fround(0.5 * Math.fround(map[middle] + map[middle + 1]))) low = middle + 1;
    else high = middle;
  }
  return low;
}
