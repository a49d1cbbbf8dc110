/**
 * ggml's own functions for single blocks, out of the llama.cpp that the tests install (tests/helpers/llama_cpp.ts): what
 * it stores for numbers, and what it reads out of bytes. Null where llama.cpp is not there.
 */
import { blockTypes } from "../../lib/quant/decode.ts";
import { llamaCppLibraries, llamaCppMissing } from "./llama_cpp.ts";

export interface Ggml {
  /** x [rows * columns] as blocks, without importance matrix. */
  quantize(x: Float32Array<ArrayBuffer>, dtype: string, columns: number): Uint8Array<ArrayBuffer>;
  dequantize(bytes: Uint8Array<ArrayBuffer>, dtype: string): Float32Array<ArrayBuffer>;
}

/** ggml's name of a type in its functions: "q4_K", "iq4_nl". */
const functionOf = (dtype: string) => `dequantize_row_${dtype.toLowerCase().replace(/^(q\d_)k$/, "$1K")}`;

export async function openGgml(): Promise<Ggml | null> {
  const missing = await llamaCppMissing();
  if (missing) {
    console.log(`ggml: ${missing}`);
    return null;
  }
  const path = `${llamaCppLibraries}libggml-base.so`;
  // ggml ends the process where it is begun again in one that has its handler of uncaught errors already, as it can be
  // by the next test file; with this it has none.
  Deno.env.set("GGML_NO_BACKTRACE", "1");
  const { symbols } = Deno.dlopen(path, {
    ggml_quantize_chunk: {
      parameters: ["i32", "buffer", "buffer", "i64", "i64", "i64", "pointer"],
      result: "usize",
    },
  });
  return {
    quantize(x, dtype, columns) {
      const { id, block, bytes } = blockTypes[dtype], out = new Uint8Array(x.length / block * bytes);
      const written = symbols.ggml_quantize_chunk(id, x, out, 0n, BigInt(x.length / columns), BigInt(columns), null);
      if (written !== BigInt(out.length)) throw new Error(`ggml wrote ${written} bytes of ${dtype}`);
      return out;
    },
    dequantize(bytes, dtype) {
      const { block, bytes: blockBytes } = blockTypes[dtype], name = functionOf(dtype);
      const out = new Float32Array(bytes.length / blockBytes * block);
      const { symbols } = Deno.dlopen(path, { [name]: { parameters: ["buffer", "buffer", "i64"], result: "void" } });
      symbols[name](bytes, out, BigInt(out.length));
      return out;
    },
  };
}
