/** Reads tensors of the files in tests/golden by name, as f32 or as stored bytes. Not a model reader: no names, no config. */
import { fileURLToPath } from "node:url";
import { openFile } from "../../lib/files/file_source.ts";
import { type GgufFile, openGguf } from "../../lib/formats/gguf.ts";
import { openSafetensors } from "../../lib/formats/safetensors.ts";
import { elementCount, type TensorFile } from "../../lib/formats/tensor_file.ts";
import { toFloat32 } from "../../lib/quant/decode.ts";

/** Path of a file in tests/golden. */
export function goldenPath(name: string): string {
  return fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
}

export interface GoldenTensors {
  file: TensorFile;
  f32(name: string): Float32Array<ArrayBuffer>;
  bytes(name: string): Uint8Array;
  close(): void;
}

export function goldenSafetensors(name: string): GoldenTensors {
  const source = openFile(goldenPath(name));
  return { ...access(openSafetensors(source)), close: () => source.close() };
}

export function goldenGguf(name: string): GoldenTensors & { file: GgufFile } {
  const source = openFile(goldenPath(name)), file = openGguf(source);
  return { ...access(file), file, close: () => source.close() };
}

function access(file: TensorFile) {
  return {
    file,
    bytes: (tensor: string) => file.bytes(tensor),
    f32(tensor: string) {
      const bytes = file.bytes(tensor), { dtype, shape } = file.tensors.get(tensor)!;
      return toFloat32(bytes, { dtype, count: elementCount(shape), name: tensor });
    },
  };
}

/** Number of elements that differ in any bit (-0 is not 0, every NaN is one value). */
export function differences(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let count = Math.abs(actual.length - expected.length);
  for (let i = 0; i < Math.min(actual.length, expected.length); i++) if (!Object.is(actual[i], expected[i])) count++;
  return count;
}
