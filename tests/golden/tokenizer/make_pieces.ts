/**
 * Writes smollm2_pieces.txt.gz: the vocabulary of SmolLM2-135M-Instruct (Apache-2.0), so that tests need no model file.
 * usage: deno run -A tests/golden/tokenizer/make_pieces.ts SmolLM2-135M-Instruct.Q4_1.gguf
 * One piece per line: the pieces that no merge makes, then the merges in order; piece 252 + i is merge i without its space.
 */
import { gzipSync } from "fflate";
import { openFile } from "../../../lib/files/file_source.ts";
import { openGguf } from "../../../lib/formats/gguf.ts";

const { metadata } = openGguf(openFile(Deno.args[0]));
const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
const merges = metadata.get("tokenizer.ggml.merges") as string[];
const base = tokens.length - merges.length;
if (merges.some((merge, i) => merge.replace(" ", "") !== tokens[base + i])) throw new Error("merges do not make the pieces");
const text = [...tokens.slice(0, base), ...merges].join("\n");
Deno.writeFileSync(
  new URL("smollm2_pieces.txt.gz", import.meta.url),
  gzipSync(new TextEncoder().encode(text), { level: 9, mtime: 0 }),
);
