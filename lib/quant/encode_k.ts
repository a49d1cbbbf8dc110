/**
 * Encoding to ggml's K-quants Q4_K, Q5_K and Q6_K, without an importance matrix: bit for bit what llama.cpp's reference
 * gives (ggml-quants.c quantize_row_q*_K_ref, built for x86-64). Decoding, with the layout of the blocks, is decode_k.ts.
 *
 * Each block of 256 takes three passes: k_quants.wat searches step and minimum of each group; here these are quantised
 * themselves, with two f16 numbers for the block; then k_quants.wat rounds the elements with the steps that this left.
 * A few blocks at a time pass through the module's memory.
 */
import compile from "watr/compile";
import { halfToFloat, toHalf } from "../formats/float16.ts";
import { infinityBits, notFinite } from "./finite.ts";
import source from "./k_quants.wat" with { type: "text" };

const block = 256;
/** Blocks that are worked on at a time; their numbers stay in the processor's second cache. */
const batch = 64;

interface Kernels {
  search_with_minimum(x: number, found: number, fours: number, most: number, first: number, tries: number): void;
  search_symmetric(x: number, found: number, fours: number, most: number): void;
  round(
    ...args: [x: number, steps: number, codes: number, groups: number, ...codes: [number, number, number, number]]
  ): void;
}

/** Addresses in bytes: scratch of k_quants.wat, then x, what was found and the steps (at most 16 groups), the codes. */
const xAt = 2048, foundAt = xAt + 4 * block * batch, stepsAt = foundAt + 256 * batch, codesAt = stepsAt + 256 * batch;

function openKernels() {
  const module = new WebAssembly.Module(compile(source) as Uint8Array<ArrayBuffer>);
  const memory = new WebAssembly.Memory({ initial: Math.ceil((codesAt + block * batch) / 65_536) });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const { buffer } = memory;
  return {
    kernels: exports as unknown as Kernels,
    x: new Float32Array(buffer, xAt, block * batch),
    found: new Float32Array(buffer, foundAt, 64 * batch),
    steps: new Float32Array(buffer, stepsAt, 64 * batch),
    codes: new Uint8Array(buffer, codesAt, block * batch),
  };
}

let opened: ReturnType<typeof openKernels> | undefined;

/**
 * x [N], N a multiple of 256 -> blocks of 144 bytes. UserError when x holds NaN or infinity; `name` (of the tensor) goes
 * into the message. The same holds for the other two.
 */
export function encodeQ4_K(x: Float32Array, options: { name?: string } = {}): Uint8Array<ArrayBuffer> {
  return inBatches(x, { ...options, bytes: 144 }, (out, blocks) => {
    const { codes } = withMinimum(out, { blocks, bytes: 144, most: 15, first: -1, tries: 21 });
    for (let i = 0, p = 16; i < blocks; i++, p += 144) {
      for (let j = 0; j < 128; j++) {
        const at = block * i + 64 * (j >> 5) + (j & 31);
        out[p + j] = codes[at] | (codes[at + 32] << 4);
      }
    }
  });
}

/** x [N] -> blocks of 176 bytes. */
export function encodeQ5_K(x: Float32Array, options: { name?: string } = {}): Uint8Array<ArrayBuffer> {
  return inBatches(x, { ...options, bytes: 176 }, (out, blocks) => {
    const { codes } = withMinimum(out, { blocks, bytes: 176, most: 31, first: -0.5, tries: 16 });
    for (let i = 0, p = 16; i < blocks; i++, p += 176) {
      for (let l = 0; l < 32; l++) {
        let fifths = 0;
        for (let pair = 0; pair < 4; pair++) {
          const at = block * i + 64 * pair + l, a = codes[at], b = codes[at + 32];
          out[p + 32 + 32 * pair + l] = (a & 15) | ((b & 15) << 4);
          fifths |= ((a >> 4) | ((b >> 4) << 1)) << (2 * pair);
        }
        out[p + l] = fifths;
      }
    }
  });
}

/** x [N] -> blocks of 210 bytes. A block without a step of at least 1e-15 becomes zeros. */
export function encodeQ6_K(x: Float32Array, options: { name?: string } = {}): Uint8Array<ArrayBuffer> {
  return inBatches(x, { ...options, bytes: 210 }, (out, blocks) => {
    const { codes } = symmetric(out, blocks);
    for (let i = 0, p = 0; i < blocks; i++, p += 210) {
      for (let j = 0; j < 64; j++) {
        const at = block * i + 128 * (j >> 5) + (j & 31), low = p + 64 * (j >> 5) + (j & 31);
        const a = codes[at], b = codes[at + 32], c = codes[at + 64], d = codes[at + 96];
        out[low] = (a & 15) | ((c & 15) << 4);
        out[low + 32] = (b & 15) | ((d & 15) << 4);
        out[p + 128 + j] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6);
      }
    }
  });
}

/** Runs `encode` over x a batch at a time; it finds the batch in the kernels' memory. */
function inBatches(
  x: Float32Array,
  { bytes, name }: { bytes: number; name?: string },
  encode: (out: Uint8Array, blocks: number) => void,
): Uint8Array<ArrayBuffer> {
  if (x.length % block !== 0) throw new Error(`${x.length} elements are not whole blocks of ${block}`);
  opened ??= openKernels();
  const out = new Uint8Array(x.length / block * bytes);
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length);
  for (let start = 0; start < x.length; start += block * batch) {
    const end = Math.min(x.length, start + block * batch);
    for (let i = start; i < end; i++) {
      if ((bits[i] & infinityBits) === infinityBits) throw notFinite(x, { start, name });
    }
    opened.x.set(x.subarray(start, end));
    encode(out.subarray(start / block * bytes), (end - start) / block);
  }
  return out;
}

/** d, dmin and the 12 bytes of scales of each block into `out`, the codes into the kernels' memory. */
function withMinimum(
  out: Uint8Array,
  layout: { blocks: number; bytes: number; most: number; first: number; tries: number },
) {
  const { kernels, found, steps, codes } = opened!;
  kernels.search_with_minimum(xAt, foundAt, 2 * layout.blocks, layout.most, layout.first, layout.tries);
  for (let i = 0, p = 0; i < layout.blocks; i++, p += layout.bytes) {
    let largestStep = 0, largestMin = 0;
    for (let group = 0; group < 8; group++) {
      const at = 32 * i + 16 * (group >> 2) + (group & 3);
      largestStep = Math.max(largestStep, found[at]);
      largestMin = Math.max(largestMin, found[at + 4]);
    }
    const d = toHalf(Math.fround(largestStep / 63)), dmin = toHalf(Math.fround(largestMin / 63));
    put16(out, p, d);
    put16(out, p + 2, dmin);
    const perStep = largestStep > 0 ? Math.fround(63 / largestStep) : 0;
    const perMin = largestMin > 0 ? Math.fround(63 / largestMin) : 0;
    out.fill(0, p + 4, p + 16);
    for (let group = 0; group < 8; group++) {
      const at = 32 * i + 16 * (group >> 2) + (group & 3), to = 4 * (8 * i + group);
      const step = Math.min(63, nearest(perStep * found[at]) & 255);
      const min = Math.min(63, nearest(perMin * found[at + 4]) & 255);
      if (group < 4) {
        out[p + 4 + group] |= step;
        out[p + 8 + group] |= min;
      } else {
        out[p + 8 + group] = (step & 15) | ((min & 15) << 4);
        out[p + group] |= (step >> 4) << 6;
        out[p + 4 + group] |= (min >> 4) << 6;
      }
      steps[to] = halfToFloat[d] * step;
      steps[to + 1] = halfToFloat[dmin] * min;
      steps[to + 2] = found[at + 8];
      steps[to + 3] = found[at + 12];
    }
  }
  kernels.round(xAt, stepsAt, codesAt, 8 * layout.blocks, 32, 0, layout.most, 0);
  return { codes };
}

/** The 16 scales and d of each block into `out`, the codes 0 to 63 into the kernels' memory. */
function symmetric(out: Uint8Array, blocks: number) {
  const { kernels, found, steps, codes } = opened!;
  kernels.search_symmetric(xAt, foundAt, 4 * blocks, 32);
  for (let i = 0, p = 0; i < blocks; i++, p += 210) {
    let largest = 0;
    for (let group = 0; group < 16; group++) {
      const step = found[32 * i + 8 * (group >> 2) + (group & 3)];
      if (Math.abs(step) > Math.abs(largest)) largest = step;
    }
    const isZero = Math.abs(largest) < Math.fround(1e-15);
    const perStep = isZero ? 0 : Math.fround(-128 / largest), d = isZero ? 0 : toHalf(Math.fround(1 / perStep));
    put16(out, p + 208, d);
    for (let group = 0; group < 16; group++) {
      const at = 32 * i + 8 * (group >> 2) + (group & 3), to = 4 * (16 * i + group);
      const scale = Math.min(127, nearest(perStep * found[at])) << 24 >> 24;
      out[p + 192 + group] = scale;
      steps[to] = halfToFloat[d] * scale;
      steps[to + 1] = steps[to + 3] = 0;
      steps[to + 2] = found[at + 4];
    }
  }
  kernels.round(xAt, stepsAt, codesAt, 16 * blocks, 16, -32, 31, 32);
  // Where nothing was found llama.cpp leaves codes 0, not the 32 that stands for the number 0.
  for (let group = 0; group < 16 * blocks; group++) {
    const isZero = steps[4 * group] === 0 && steps[4 * group + 2] === 0;
    if (isZero) codes.fill(0, 16 * group, 16 * group + 16);
  }
  return { codes };
}

const scratch = new Float32Array(1), scratchBits = new Uint32Array(scratch.buffer);

/** ggml's nearest_int of the f32 nearest to x: also of what is too large for it, which it takes for some other number. */
function nearest(x: number): number {
  scratch[0] = Math.fround(x) + 12582912;
  return (scratchBits[0] & 0x7fffff) - 0x400000;
}

function put16(out: Uint8Array, at: number, value: number): void {
  out[at] = value & 255;
  out[at + 1] = value >> 8;
}
