/** Seeded numbers for tests: the same on every machine. */

/** `length` f32 values, roughly uniform in (-1, 1), from a 32-bit integer hash of index and seed. */
export function randomFloats(length: number, seed = 0): Float32Array<ArrayBuffer> {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    let x = (i + Math.imul(seed + 1, 0x9e3779b9)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    x = (x ^ (x >>> 16)) >>> 0;
    values[i] = x / 2 ** 31 - 1;
  }
  return values;
}

/** `length` uneven bytes. */
export function randomBytes(length: number, seed = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(randomFloats(length, seed), (value) => Math.floor((value + 1) * 128));
}
