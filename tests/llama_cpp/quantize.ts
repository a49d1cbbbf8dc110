/**
 * llama.cpp's own quantiser on a file: quantize.ts LIBLLAMA IN OUT FILE_TYPE [OUT FILE_TYPE]..., without importance
 * matrix, on one thread.
 * Run by tests/helpers/llama_cpp.ts as a process of its own. The function is called in the shared library that
 * node-llama-cpp brings, which has no command-line tools.
 */
const [library, input, ...outputs] = Deno.args;

const { symbols } = Deno.dlopen(library, {
  // A struct that is returned through memory; it may be smaller than this, never larger.
  llama_model_quantize_default_params: { parameters: [], result: { struct: Array(32).fill("u64") } },
  llama_model_quantize: { parameters: ["buffer", "buffer", "buffer"], result: "u32" },
});
const params = symbols.llama_model_quantize_default_params();
const fields = new Int32Array(params.buffer); // nthread, ftype, ...
const text = (value: string) => new TextEncoder().encode(value + "\0");
for (let i = 0; i < outputs.length; i += 2) {
  fields[0] = 1;
  fields[1] = Number(outputs[i + 1]);
  if (symbols.llama_model_quantize(text(input), text(outputs[i]), params) !== 0) Deno.exit(1);
}
