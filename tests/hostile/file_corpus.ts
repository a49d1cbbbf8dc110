/** Malformed files of one class each, for the reader that the class is told by; made anew by every call. */
import { gzipSync } from "fflate";
import { writeSafetensors } from "../../lib/formats/safetensors.ts";
import { concat, le, utf8 } from "../helpers/bytes.ts";
import { tinyTokenizerJson } from "../helpers/tokenizers.ts";
import type { Row } from "./corpus.ts";
import * as rowSeeds from "./row_seeds.ts";
import * as seeds from "./seeds.ts";

type Case = [what: string, bytes: () => Uint8Array | string, says: RegExp];

const read = /^read$/;

const rowsOf = (reader: string, cases: Case[]): Row[] =>
  cases.map(([what, bytes, says]) => ({
    ...{ reader, class: what, says },
    bytes: () => {
      const made = bytes();
      return typeof made === "string" ? utf8(made) : made;
    },
  }));

const deep = (open: string, close: string, levels = 20_000) => open.repeat(levels) + "1" + close.repeat(levels);
const tooDeep = /nested deeper than 200 levels/;
const json = JSON.stringify;

const index = (file: unknown) => () => json({ weight_map: { a: file, b: "model-00002-of-00002.safetensors" } });
const outside = /tensor "a" is in .*, not a file beside it/;

const indexRows = rowsOf("index.json", [
  ["a folder above", index("../x.safetensors"), outside],
  ["a folder above by a folder here", index("a/../../x.safetensors"), outside],
  ["an absolute path", index("/etc/x.safetensors"), outside],
  ["a path of Windows", index("C:\\x.safetensors"), outside],
  ["a file of another kind", index("/etc/passwd"), outside],
  ["a path with NUL", index("x\0.safetensors"), /Cannot find .*x\\u0000\.safetensors/],
  ["a name longer than names are", index("x".repeat(5000) + ".safetensors"), /Cannot find .*xxx \.\.\. x*/],
  [
    "a name of signs that no terminal shows",
    index("\u0001".repeat(900) + ".safetensors"),
    /Cannot find .*\\u0001\S* \.\.\. /,
  ],
  ["a number", index(7), outside],
  ["a shard that is missing", index("none.safetensors"), /Cannot find .*none\.safetensors.*lists/],
  ["deep nesting", () => `{"weight_map": ${deep('{"a":', "}")}}`, tooDeep],
  ["a file of itself", index("model.safetensors.index.json"), outside],
]);

const config = (change: Record<string, unknown>) => () =>
  json({ ...JSON.parse(new TextDecoder().decode(seeds.configs()[0])), ...change });

const configRows = rowsOf("config.json", [
  ["a type of Object.prototype", config({ model_type: "constructor" }), /unknown model_type "constructor"/],
  ["a type __proto__", config({ model_type: "__proto__" }), /unknown model_type "__proto__"/],
  [
    "a layer type of Object.prototype",
    config({
      ...{ model_type: "qwen2", use_sliding_window: true, sliding_window: 4, num_hidden_layers: 1 },
      layer_types: ["toString"],
    }),
    /layer_types holds "toString"/,
  ],
  ["10^9 layers", config({ num_hidden_layers: 1e9 }), /num_hidden_layers is 1000000000, expected/],
  ["negative sizes", config({ hidden_size: -1, vocab_size: -5 }), /hidden_size is -1.*vocab_size is -5/],
  ["sizes over 2^53", config({ vocab_size: 2 ** 60 }), /vocab_size is 1152921504606847000/],
  ["a list as a size", config({ hidden_size: [[[1]]] }), /hidden_size is \[\[\[1\]\]\]/],
  ["a terminal's command in a value", config({ hidden_act: "\u001b[2J\nftl: done" }), /hidden_act "\\u001b\[2J\\u000a/],
]);

const tokenizer = (change: Record<string, unknown>) => () => json(tinyTokenizerJson(change));
const split = (Regex: string) =>
  tokenizer({
    pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false },
  });
const vocabulary = (ids: unknown) => tokenizer({ added_tokens: [], model: { type: "BPE", vocab: ids, merges: [] } });
const endless = /the tokenizer's expression .* may never end/;
const unbuilt = /cannot build the tokenizer/;

const tokenizerRows = rowsOf("tokenizer.json", [
  ["an expression that never ends", split("(a+)+$"), endless],
  ["one with a group between", split("((a+))+$"), endless],
  ["one with a choice", split("(?:a|a)*b"), endless],
  ["one with a long repetition", split("(a{1,999}){1,999}$"), endless],
  ["many repetitions in a row", split(".*.*.*.*.*x"), endless],
  [
    "one in a normalizer",
    tokenizer({
      normalizer: { type: "Replace", pattern: { Regex: "(\\s+)*x" }, content: "" },
    }),
    endless,
  ],
  ["an id of 2^32", vocabulary({ a: 0, b: 2 ** 32 }), /token "b" has the id 4294967296/],
  ["a negative id", vocabulary({ a: -1 }), /token "a" has the id -1/],
  ["half an id", vocabulary({ a: 0.5 }), /token "a" has the id 0.5/],
  ["a text as id", vocabulary({ a: "0" }), /token "a" has the id "0"|cannot build/],
  ["a vocabulary that is a list", vocabulary([["a", 0]]), unbuilt],
  ["merges of numbers", tokenizer({ model: { type: "BPE", vocab: { a: 0 }, merges: [1, 2] } }), unbuilt],
  ["a mark that is no text", tokenizer({ added_tokens: [{ id: 0, content: 7, special: true }] }), unbuilt],
  ["a mark that is nothing", tokenizer({ added_tokens: [null] }), unbuilt],
  ["steps in steps", () => `{"model": ${deep("[", "]")}}`, tooDeep],
  ["a step of an unknown kind", tokenizer({ pre_tokenizer: { type: "constructor" } }), unbuilt],
]);

const adapter = (change: Record<string, unknown>) => () => json({ ...seeds.adapterConfig, ...change });

const adapterRows = [
  ...rowsOf("adapter_config.json", [
    ["a rank of 10^9", adapter({ r: 1e9 }), /r is 1000000000, expected/],
    ["a rank that is text", adapter({ r: "4" }), /r is "4", expected/],
    ["another rank than the tensors'", adapter({ r: 65_536 }), /has shape \[4, 16\], expected \[65536, 16\]/],
    ["a pattern that never ends", adapter({ rank_pattern: { "((.+))+x": 4 } }), /not supported as a pattern/],
    ["a pattern with a choice", adapter({ alpha_pattern: { "(a|a)*b": 4 } }), /not supported as a pattern/],
    [
      "a dropout of everything",
      adapter({ lora_dropout: 1.5 }),
      /lora_dropout is 1.5, expected a number above 0, below 1/,
    ],
    ["an alpha that is infinite", adapter({ lora_alpha: 1e999 }), /lora_alpha is .*expected a number above 0|read/],
    ["deep nesting", () => `{"r": ${deep("[", "]")}}`, tooDeep],
    ["no object", () => "[]", /expected a JSON object/],
  ]),
  ...rowsOf("adapter_model.safetensors", [
    ["a name that leads out", () => tensors("../../x.lora_A.weight", [4, 16]), /is not supported/],
    [
      "a layer of 10^20",
      () => tensors(`${layer("99999999999999999999")}.lora_A.weight`, [4, 16]),
      /Cannot find|no place/,
    ],
    [
      "a projection of Object.prototype",
      () => tensors(`${layer("0").replace("q_proj", "constructor")}.lora_A.weight`, [1]),
      /is not supported/,
    ],
  ]),
];

const layer = (number: string) => `base_model.model.model.layers.${number}.self_attn.q_proj`;
function tensors(name: string, shape: number[]): Uint8Array {
  const byteLength = 4 * shape.reduce((a, b) => a * b, 1);
  return concat(writeSafetensors([{ name, dtype: "F32", shape, byteLength, data: () => new Uint8Array(byteLength) }]));
}

const state = (change: Record<string, unknown>) => () => {
  const text = utf8(json({ quant_type: "nf4", blocksize: 64, dtype: "bfloat16", shape: [8, 32], ...change }));
  const parts = [["w", 128], ["w.absmax", 16], ["w.quant_map", 64]] as const;
  const of = (name: string, bytes: Uint8Array, dtype: string, size: number) => ({
    ...{ name, dtype, shape: [bytes.length / size], byteLength: bytes.length, data: () => bytes },
  });
  return concat(writeSafetensors([
    ...parts.map(([name, bytes]) => of(name, new Uint8Array(bytes), name === "w" ? "U8" : "F32", name === "w" ? 1 : 4)),
    of("w.quant_state.bitsandbytes__nf4", text, "U8", 1),
  ]));
};

const bnb4Rows = rowsOf("bnb4", [
  ["a shape of 2^60", state({ shape: [2 ** 30, 2 ** 30] }), /its shape is \[1073741824,1073741824\]|take/],
  ["a shape of negative sizes", state({ shape: [-8, -32] }), /its shape is \[-8,-32\]/],
  ["a shape of another size", state({ shape: [8, 64] }), /"w" has 128 bytes, 512 elements take 256/],
  ["a block of 0", state({ blocksize: 0 }), /its blocksize is 0/],
  ["a block of 2^40", state({ blocksize: 2 ** 40 }), /its blocksize is/],
  ["a type of Object.prototype", state({ dtype: "constructor" }), /its dtype is "constructor"/],
  ["an offset that is text", state({ nested_offset: "1", nested_blocksize: 256 }), /its nested_offset is "1"/],
  ["a state of 5,000 bytes", state({ more: "x".repeat(5000) }), /its quant_state has \d+ bytes/],
]);

const bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" +
  [..."bcdefghij"].map((name, i) => `${name}: &${name} [${Array(10).fill(`*${"abcdefghij"[i]}`).join(", ")}]\n`).join(
    "",
  );

const yamlCases: Case[] = [
  ["aliases that multiply", () => bomb, /Excessive alias count/],
  ["an alias of itself", () => "r: &r [*r]\n", /circular structure/],
  ["an alias of nothing", () => "r: *none\n", /Unresolved alias .*none/],
  ["a key twice", () => "r: 1\nr: 2\n", /:2: Map keys must be unique/],
  ["lists in lists", () => `r: ${deep("[", "]")}\n`, /:1: nested too deep/],
  ["a pair in a pair in a pair", () => `r: [${'"":'.repeat(5000)}\n`, /nested too deep/],
  ["mappings in mappings", () => `r: ${deep("{a: ", "}", 5000)}\n`, /:1: nested too deep/],
  ["a date", () => "2001-01-01", /:1: expected lines of the form name: value/],
  ["a tag of another kind of list", () => "!!omap [a: 1]", /:1: expected lines of the form name: value/],
  ["100,000 lines", () => "r: 1\n".repeat(100_000), /500000 characters, a file of settings has at most 65536/],
  ["a list of lines", () => "- r\n- 4\n", /:1: expected lines of the form name: value/],
  ["wrong types", () => "data: rows.jsonl\nr: {}\nseed: x\n", /r: expected a whole number|unknown setting/],
  ["an unknown tag", () => "r: !!js/function 'process.exit()'\n", /r: expected a whole number.*got "process\.exit/],
  ["keys of keys", () => `r: 1\n${"? ".repeat(500)}x\n`, /found keys that begin with/],
  ["__proto__", () => "__proto__: {r: 5}\n", /__proto__: unknown setting/],
  ["a list that is nothing, and a name that is none", () => ":\ndata:\n", /:1: : unknown setting/],
  ["a terminal's command", () => '"\\e[2J": 1\n', /\\u001b\[2J: unknown setting/],
];
const yamlRows = [...rowsOf("train.yaml", yamlCases), ...rowsOf("experiment.yaml", yamlCases)];

const row = (value: unknown) => json({ instruction: "a", output: "b", ...value as object }) + "\n";
const chat = (calls: string) =>
  `{"messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":${calls}}]}\n`;

const dataRows = [
  ...rowsOf("rows.jsonl", [
    ["arguments of a tool, nested", () => chat(`[{"name":"f","arguments":${deep('{"a":', "}")}}]`), tooDeep],
    ["a row, nested", () => `{"instruction":${deep("[", "]")}}\n`, tooDeep],
    ["a row with __proto__", () => '{"__proto__":{"instruction":"x"},"output":"y"}\n', /no column|could|nothing says/],
    ["half a character", () => '{"instruction":"\\ud83d","output":"b"}\n', /half a surrogate pair/],
    ["NUL", () => `${row({})}\0`, /binary data, not text: byte 35 is 0|byte \d+ is 0/],
    ["a number too large", () => '{"instruction":1e999,"output":"b"}\n', /"instruction" must be text/],
    ["a bare word", () => "undefined\n", /neither jsonl nor json/],
  ]),
  ...rowsOf("rows.json", [
    ["a list that is not closed", () => `[${row({})}`, /:2: the JSON array is not closed|not closed/],
    ["lists in lists", () => deep("[", "]"), /expected a JSON object|nested deeper/],
    ["something behind the list", () => `[${row({})}] x`, /"x" after the end of the JSON array/],
  ]),
  ...rowsOf("rows.csv", [
    ["a quote that is never closed", () => 'instruction,output\n"' + "a,b\n".repeat(10_000), /never closed/],
    ["100,000 columns", () => `instruction,output${",x".repeat(100_000)}\na,b\n`, read],
    ["a header of commas", () => ",".repeat(100_000) + "\n1\n", /no column is known/],
  ]),
  ...rowsOf("rows.jsonl.gz", [
    [
      "a line of 40 MB in 40 kB",
      () => gzipSync(new Uint8Array(40_000_000).fill(0x61)),
      /neither jsonl|of more than/,
    ],
    ["a row of 40 MB in 40 kB", () => gzipSync(padded('{"instruction":"', 40_000_000)), /a line of more than/],
    ["gzip in gzip", () => gzipSync(gzipSync(utf8(row({})))), /binary data|neither jsonl/],
    ["gzip cut short", () => gzipSync(utf8(row({}).repeat(99))).subarray(0, 60), /damaged gzip data/],
  ]),
  ...rowsOf("rows.parquet", [
    [
      "a footer longer than the file",
      () => concat([utf8("PAR1"), le(2 ** 31, 4), utf8("PAR1")]),
      /damaged or unknown Parquet/,
    ],
    ["two magic words alone", () => utf8("PAR1PAR1"), /damaged or unknown Parquet/],
    ["an encrypted file", () => concat([utf8("PARE"), new Uint8Array(40), utf8("PARE")]), /damaged or unknown Parquet/],
  ]),
];

function padded(head: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0x61);
  bytes.set(utf8(head));
  return bytes;
}

const log = (line: string) => () => rowSeeds.trainLog + line + "\n";
const runRows = [
  ...rowsOf("dataset card", [
    [
      "a pattern of 100,000 brackets",
      () => rowSeeds.card.replace("data/train-*.parquet", () => `'${"[".repeat(100_000)}'`),
      /has no files at \[\[/,
    ],
  ]),
  ...rowsOf("checkpoint", [
    ["a state that is no JSON", () => rowSeeds.signed(rowSeeds.checkpoints()[0], "{"), /its state is not JSON/],
  ]),
  ...rowsOf("log.jsonl", [
    ["null", log("null"), /log\.jsonl:4: not a step of training/],
    ["a step of text", log('{"step":"4","loss":1}'), /log\.jsonl:4: not a step of training/],
    ["no JSON", log('{"step":'), /log\.jsonl:4: not a step of training/],
    ["a last line cut off", () => rowSeeds.trainLog + '{"step":', read],
  ]),
  ...rowsOf("eval.json", [
    ["another format", () => json({ format: "ftl-eval/9" }), /format is not as ftl writes it/],
    ["a null", () => "null", /it is not as ftl writes it/],
    ["sets that are none", () => json({ ...JSON.parse(rowSeeds.evaluation), sets: 5 }), /sets is not as ftl writes it/],
    ["deep nesting", () => deep("[", "]"), tooDeep],
  ]),
  ...rowsOf("chat request", [
    [
      "arguments, nested",
      () => json(rowSeeds.chatBody).replace('"temperature":', `"x":${deep("[", "]")},"temperature":`),
      /not JSON|nested/,
    ],
    ["no list of messages", () => json({ messages: { length: 1e9 } }), /messages: expected a list/],
    [
      "a role of Object.prototype",
      () => json({ messages: [{ role: "constructor", content: "x" }] }),
      /messages\.0\.role/,
    ],
  ]),
];

export const fileRows: Row[] = [
  ...[...indexRows, ...configRows, ...tokenizerRows, ...adapterRows, ...bnb4Rows],
  ...[...yamlRows, ...dataRows, ...runRows],
];
