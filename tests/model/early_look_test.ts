/** Models judged by their first bytes: those that are supported pass, the others are refused by name. */
import { judgeConfig, judgeGgufHead } from "../../lib/model/early_look.ts";
import { assertRefused, concat, le, utf8 } from "../helpers/bytes.ts";
import { goldenFolder } from "../helpers/golden_models.ts";

Deno.test("judgeConfig() lets every golden model pass, and names what it refuses", () => {
  for (const name of ["llama3", "llama_tied", "qwen2", "qwen3", "mistral", "gemma3"]) {
    judgeConfig(Deno.readTextFileSync(`${goldenFolder}${name}/config.json`), name);
  }
  assertRefused(() => judgeConfig('{"model_type": "mamba"}', "org/m"), /^org\/m: unknown model_type "mamba"/);
  assertRefused(() => judgeConfig("{", "org/m"), /^org\/m: /);
});

const text = (value: string) => concat([le(value.length, 8), utf8(value)]);

/** A header with these texts as metadata. */
const headOf = (metadata: Record<string, string>) =>
  concat([
    ...[utf8("GGUF"), le(3, 4), le(1, 8), le(Object.keys(metadata).length, 8)],
    ...Object.entries(metadata).flatMap(([key, value]) => [text(key), le(8, 4), text(value)]),
  ]);

Deno.test("judgeGgufHead() refuses other architectures and what is no model, wherever the head ends", () => {
  const long = { "tokenizer.chat_template": "x".repeat(1000) };
  judgeGgufHead(headOf({ "general.architecture": "llama", ...long }), "org/g");
  const other = headOf({ "general.architecture": "mamba", ...long });
  for (const length of [other.length, 600]) {
    assertRefused(() => judgeGgufHead(other.slice(0, length), "org/g"), /^org\/g: unknown architecture "mamba"/);
  }
  const adapter = headOf({ "general.type": "adapter", "general.architecture": "llama" });
  assertRefused(() => judgeGgufHead(adapter, "org/g"), /general\.type is "adapter", not a model/);
});

Deno.test("judgeGgufHead() leaves what it cannot tell to the opening of the file", () => {
  for (const length of [0, 3, 20, 40]) judgeGgufHead(headOf({ "general.architecture": "mamba" }).slice(0, length), "g");
  judgeGgufHead(utf8("no GGUF at all"), "g");
});
