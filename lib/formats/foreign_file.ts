/**
 * What a file is that was taken for another kind, by its first bytes: what people really hand over instead of a model or
 * rows, above all what stands in a file's place when it was not fetched.
 */
// deno-lint-ignore-file no-control-regex
import type { ByteSource } from "./byte_source.ts";

export interface ForeignFile {
  /** "a PDF document" */
  what: string;
  /** What to do about it. */
  hint: string;
  /** Whether it may be meant as text all the same. */
  isText?: true;
}

const asText = "Copy what is in it into a table (.csv, .xlsx) or a text file (.txt, .md).";
const unpack = "Unpack it, and name what is inside.";
const pickled = "Such files may run programs. Take the model in safetensors or GGUF.";

/** By how a file begins, read as Latin-1. */
const beginnings: [RegExp, ForeignFile][] = [
  [/^version https:\/\/git-lfs\./, {
    what: "a Git LFS pointer, not the file itself",
    hint: "Run git lfs pull in the folder it came from, or fetch the file again.",
  }],
  [/^\s*<(?:!doctype html|html)/i, {
    what: "a web page",
    hint: "Fetch the file itself: the address led to a page about it, or to an error.",
    isText: true,
  }],
  [/^GGUF[\x01-\x03]\0\0\0/, { what: "a GGUF model", hint: "Name it as the model (--model), not as data." }],
  [/^(?:lmgg|fmgg|tjgg|algg)/, {
    what: "a model in GGML's format from before GGUF",
    hint: "Take the model's GGUF file; llama.cpp no longer reads this one either.",
  }],
  [/^%PDF-/, { what: "a PDF document", hint: asText }],
  [/^\xd0\xcf\x11\xe0/, { what: "an old Office document (.xls, .doc)", hint: "Save it as .xlsx or .csv." }],
  [/^PK\x03\x04(?=[^]*data\.pkl)/, { what: "a PyTorch checkpoint (pickle)", hint: pickled }],
  [/^PK\x03\x04(?=[^]*word\/)/, { what: "a Word document", hint: asText }],
  [/^PK\x03\x04(?=[^]*ppt\/)/, { what: "a PowerPoint document", hint: asText }],
  [/^PK\x03\x04(?=[^]*opendocument)/, { what: "an OpenDocument file", hint: "Save it as .xlsx or .csv." }],
  [/^PK\x03\x04(?![^]*(?:\[Content_Types\]|xl\/))/, { what: "a zip archive", hint: unpack }],
  // Zeros behind it make it the length of a safetensors header.
  [/^\x80[\x02-\x05](?!\0)/, { what: "a Python pickle", hint: pickled }],
  [/^\x89PNG|^\xff\xd8\xff|^GIF8/, { what: "a picture", hint: "Only text can be learnt." }],
  [/^(?:7z\xbc\xaf|Rar!|BZh[1-9]1AY|\xfd7zXZ|\x28\xb5\x2f\xfd)/, { what: "an archive", hint: unpack }],
];

/** First bytes that are looked at. */
const mostBytes = 4096;

/** Undefined for a file that is none of them. */
export function foreignFile(source: ByteSource): ForeignFile | undefined {
  // Not by a TextDecoder, whose Latin-1 is Windows-1252.
  const head = String.fromCharCode(...source.read(0, Math.min(source.size, mostBytes)));
  return beginnings.find(([pattern]) => pattern.test(head))?.[1];
}
