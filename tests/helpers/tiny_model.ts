/** Model folders for tests: a golden tiny model, copied to a temporary folder with whatever should be wrong about it. */
import { openFile } from "../../lib/files/file_source.ts";
import { openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { goldenFolder } from "./golden_models.ts";

export interface StoredTensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

export interface TinyModel {
  config: Record<string, unknown>;
  tensors: Map<string, StoredTensor>;
}

/** A golden model in memory, as its files store it. */
export function readTinyModel(name: string): TinyModel {
  const source = openFile(`${goldenFolder}${name}/model.safetensors`);
  const file = openSafetensors(source);
  const tensors = new Map(Array.from(file.tensors.values(), ({ name, dtype, shape }) => {
    return [name, { dtype, shape, bytes: file.bytes(name).slice() }];
  }));
  source.close();
  return { config: JSON.parse(Deno.readTextFileSync(`${goldenFolder}${name}/config.json`)), tensors };
}

/** Writes tensors as one safetensors file. */
export function writeTensors(path: string, tensors: Iterable<[string, StoredTensor]>): void {
  const list = Array.from(tensors, ([name, { dtype, shape, bytes }]) => {
    return { name, dtype, shape, byteLength: bytes.length, data: () => bytes };
  });
  const file = Deno.openSync(path, { write: true, create: true, truncate: true });
  for (const chunk of writeSafetensors(list, {})) file.writeSync(chunk);
  file.close();
}

/** Calls `use` with a temporary folder holding the model after `change`, and removes the folder. */
export async function withTinyModel(
  options: { name: string; change?: (model: TinyModel) => void },
  use: (folder: string) => void | Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const model = readTinyModel(options.name);
    options.change?.(model);
    Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(model.config));
    writeTensors(`${folder}/model.safetensors`, model.tensors);
    await use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** An f32 tensor's storage. */
export function storeF32(data: ArrayLike<number>, shape: number[]): StoredTensor {
  return { dtype: "F32", shape, bytes: new Uint8Array(Float32Array.from(data).buffer) };
}
