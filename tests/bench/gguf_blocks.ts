/**
 * Speed of reading and writing ggml's blocks, in elements and in bytes of the file, against floors: reading a 7B of
 * Q4_K_M must not take minutes, and writing an 8B not hours. Beside each encoder llama.cpp's own on one thread, where it
 * is installed. usage: deno run -A tests/bench/gguf_blocks.ts; exit code 1 when a floor is missed.
 */
import { blockTypes, decodableTypes, toFloat32 } from "../../lib/quant/decode.ts";
import { encode, type StoredType } from "../../lib/export/encode.ts";
import { openGgml } from "../helpers/ggml.ts";
import { randomFloats } from "../helpers/random.ts";

/** Least MB of blocks read, and least millions of elements written, in a second. */
const readFloor = 100, writeFloor = 10;

const count = 1 << 20, ggml = await openGgml();
const x = randomFloats(count, 1).map((value) => value * 0.05);

/** Seconds of the fastest of several runs, which a busy machine disturbs least. */
function fastest(action: () => void, runs: number): number {
  let best = Infinity;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    action();
    best = Math.min(best, performance.now() - start);
  }
  return best / 1000;
}

let missed = false;
for (const dtype of decodableTypes.filter((dtype) => blockTypes[dtype].block > 1)) {
  const { block, bytes } = blockTypes[dtype], stored = new Uint8Array(count / block * bytes);
  // Bytes of 0 to 123: no scale is NaN or infinite.
  for (let i = 0; i < stored.length; i++) stored[i] = (i * 37) & 0x7b;
  const seconds = fastest(() => toFloat32(stored, { dtype, count }), 60), mb = stored.length / seconds / 1e6;
  console.log(
    `read  ${dtype.padEnd(6)} ${mb.toFixed(0).padStart(5)} MB/s  ${(seconds / count * 1e9).toFixed(2)} ns an element`,
  );
  missed ||= !(mb >= readFloor);
}
for (const dtype of ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q5_1", "Q5_0", "Q4_0"] as StoredType[]) {
  const seconds = fastest(() => encode(x, { dtype, name: "x" }), 12), millions = count / seconds / 1e6;
  const theirs = ggml ? fastest(() => ggml.quantize(x, dtype, 256), 5) : NaN;
  console.log(
    `write ${dtype.padEnd(6)} ${millions.toFixed(0).padStart(5)} M elements/s, ${
      (4 * millions / 1e3).toFixed(2)
    } GB/s of f32` +
      `  8 billion in ${(8e3 / millions).toFixed(0)} s  llama.cpp, one thread: ${(8e9 / count * theirs).toFixed(0)} s`,
  );
  missed ||= !(millions >= writeFloor);
}
if (missed) console.error(`below the floor of ${readFloor} MB/s read or ${writeFloor} million elements/s written`);
Deno.exit(missed ? 1 : 0);
