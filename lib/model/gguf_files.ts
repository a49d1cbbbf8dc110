/**
 * Opens a GGUF model, whether it is one file or cut into parts beside each other, as one set of tensors. The parts are
 * named and numbered as llama.cpp's gguf-split does it; the first is the one to name, and holds the metadata.
 */
import { UserError } from "../errors.ts";
import { type GgufFile, openGguf } from "../formats/gguf.ts";
import { parsePartPath, partPath } from "../formats/gguf_parts.ts";
import { quoted, type TensorInfo } from "../formats/tensor_file.ts";
import { decodableTypes } from "../quant/decode.ts";
import { kindOfPath, type OpenTensors, openTensors } from "./model_files.ts";

export type OpenGguf = GgufFile & OpenTensors;

/** UserError for a malformed file, for parts that are missing or not of one model, and for types that are not read. */
export function openGgufFiles(path: string): OpenGguf {
  const first = openTensors(path, openGguf);
  try {
    const { count } = placeOf(first);
    const file = count > 1 ? joinParts(path, first) : first;
    requireReadable(path, file);
    return file;
  } catch (error) {
    first.close();
    throw error;
  }
}

/** What a file says of itself; a file that says nothing is whole. */
function placeOf({ metadata }: GgufFile): { no: number; count: number; tensors: number } {
  const number = (key: string, absent: number) => {
    const value = metadata.get(key);
    return typeof value === "number" && Number.isInteger(value) ? value : absent;
  };
  return {
    no: number("split.no", 0),
    count: number("split.count", 1),
    tensors: number("split.tensors.count", -1),
  };
}

function joinParts(path: string, first: OpenGguf): OpenGguf {
  const place = placeOf(first), name = parsePartPath(path), { count } = place;
  if (place.no !== 0) {
    throw new UserError(`Cannot open ${path}: it is part ${place.no + 1} of a model in ${count} parts`, {
      hint: `name the first part${name ? `: ${partPath(name.prefix, { no: 0, count })}` : ""}`,
    });
  }
  if (name?.no !== 0 || name.count !== count) {
    throw new UserError(`Cannot find the other parts of ${path}: it is the first of ${count}, which its name hides`, {
      hint: `name the parts as gguf-split does, the first ${partPath("name", { no: 0, count })}`,
    });
  }
  const parts = [first];
  try {
    for (let no = 1; no < count; no++) {
      const partOf = partPath(name.prefix, { no, count });
      if (kindOfPath(partOf) !== "file") {
        throw new UserError(`Cannot find part ${no + 1} of ${count} of the model: ${partOf} does not exist`, {
          hint: "fetch or copy all parts into one folder",
        });
      }
      parts.push(openTensors(partOf, openGguf));
      requireSameModel(parts, { no, path: partOf });
    }
    return oneFile(parts, place.tensors);
  } catch (error) {
    for (const part of parts) part.close();
    throw error;
  }
}

/** The part opened last belongs to the first one. */
function requireSameModel(parts: OpenGguf[], { no, path }: { no: number; path: string }): void {
  const [first] = parts, part = parts.at(-1)!, place = placeOf(part), { count, tensors } = placeOf(first);
  const refuse = (why: string) => {
    throw new UserError(`${path} is not part ${no + 1} of the same model as ${first.source}: ${why}`, {
      hint: "fetch or copy all parts of one model again",
    });
  };
  if (place.no !== no || place.count !== count) refuse(`it says that it is part ${place.no + 1} of ${place.count}`);
  if (place.tensors !== tensors) {
    refuse(`its parts are to hold ${place.tensors} tensors, the first one's ${tensors}`);
  }
  for (const [key, value] of part.metadata) {
    if (/^split\.|^general\.alignment$/.test(key) || !first.metadata.has(key)) continue;
    if (String(first.metadata.get(key)) !== String(value)) refuse(`its ${quoted(key)} is another`);
  }
}

function oneFile(parts: OpenGguf[], expected: number): OpenGguf {
  const [first] = parts, tensors = new Map<string, TensorInfo>(), owner = new Map<string, OpenGguf>();
  for (const part of parts) {
    for (const [name, info] of part.tensors) {
      const other = owner.get(name);
      if (other) {
        throw new UserError(`Tensor ${quoted(name)} is both in ${other.source} and in ${part.source}`, {
          hint: "the parts are of different models: fetch or copy all of them again",
        });
      }
      tensors.set(name, info);
      owner.set(name, part);
    }
  }
  if (tensors.size !== expected) {
    throw new UserError(
      `The ${parts.length} parts of ${first.source} hold ${tensors.size} tensors, not the ${expected} they say`,
      {
        hint: "the parts are of different models: fetch or copy all of them again",
      },
    );
  }
  return {
    ...first,
    tensors,
    bytes: (name) => (owner.get(name) ?? first).bytes(name),
    files: parts.flatMap(({ files }) => files),
    close: () => parts.forEach((part) => part.close()),
  };
}

/** Refuses a file with tensors of types without decoder, before any of them is loaded. */
function requireReadable(path: string, { tensors }: OpenGguf): void {
  const unread = [...tensors.values()].filter(({ dtype }) => !decodableTypes.includes(dtype));
  if (unread.length === 0) return;
  const types = [...new Set(unread.map(({ dtype }) => dtype))].join(" and ");
  throw new UserError(`Cannot use ${path}: ${unread.length} of its ${tensors.size} tensors are of type ${types}`, {
    hint: `ftl reads ${decodableTypes.join(", ")}: take another quantisation of this model, such as Q4_K_M`,
  });
}
