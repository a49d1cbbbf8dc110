/** The files of weights that weight_cache.ts keeps: of which models, how large. They can always be made again. */
import { openFile } from "../files/file_source.ts";
import { openSafetensors } from "../formats/safetensors.ts";

export interface CachedWeightsFile {
  path: string;
  bytes: number;
  modified: number;
  /** Path of the model it was made from; null where the file does not say. */
  model: string | null;
}

/** Those in a folder, newest first; none where there is no folder. */
export function listCachedWeights(cacheDir: string): CachedWeightsFile[] {
  let names: string[];
  try {
    names = Array.from(Deno.readDirSync(cacheDir), ({ name }) => name);
  } catch {
    return [];
  }
  return names.filter((name) => /\.nf4\.safetensors(\.\d+-\d+\.part)?$/.test(name)).map((name) => {
    const path = `${cacheDir}/${name}`, { size, mtime } = Deno.lstatSync(path);
    return { path, bytes: size, modified: mtime?.getTime() ?? 0, model: modelOf(path) };
  }).sort((a, b) => b.modified - a.modified);
}

function modelOf(path: string): string | null {
  try {
    const source = openFile(path);
    try {
      return openSafetensors(source).metadata.model ?? null;
    } finally {
      source.close();
    }
  } catch {
    return null; // damaged, or a file that was being written when its process ended
  }
}
