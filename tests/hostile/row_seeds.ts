/**
 * The valid files of settings, runs and rows that damage begins with, each small and with one of everything, and damage
 * that only one kind of file knows. Those of models are in seeds.ts.
 */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync, unzipSync, zipSync } from "fflate";
import { bytesSource } from "../../lib/formats/byte_source.ts";
import { type LazyTensor, openSafetensors, writeSafetensors } from "../../lib/formats/safetensors.ts";
import { concat, utf8 } from "../helpers/bytes.ts";
import { csvOf, parquetOf, xlsxOf } from "../helpers/tables.ts";
import { damagedBytes, damagedJson, damagedText, pick, type Random } from "./damage.ts";
import { tensor, tool, toolCall } from "./seeds.ts";

const decoder = new TextDecoder();
const json = (value: unknown) => utf8(JSON.stringify(value));

export const trainYamls = () => [
  "# a run\nmodel: smollm2-135m\ndata: [rows.jsonl, more.csv]\nr: 16\nlora_alpha: 16\nlearning_rate: 2e-4\n" +
  "max_steps: 30\ntarget_modules:\n  - q_proj\n  - v_proj\nseed: 3407\nuse_rslora: false\ncolumns: null\n",
  Deno.readTextFileSync(new URL("../../templates/presets/paper.yaml", import.meta.url)),
];

export const experimentYaml =
  "model: smollm2-135m\ndata:\n  - cultural-qa-4\n  - cultural-qa-8\nseed: [1, 2]\nlearning_rate: 1e-3\nlimit: 5\n" +
  "target_modules: [[q_proj], [q_proj, v_proj]]\n";

export const card = "---\nlicense: mit\nconfigs:\n- config_name: default\n  default: true\n  data_files:\n" +
  "  - split: train\n    path: data/train-*.parquet\n  - split: test\n    path: 'a/[st]*.jsonl'\n---\n# Rows\n";

export const yamlWords = [
  ...["&a [*a, *a]", "&a", "*a", "<<: *a", "!!binary x", "!!js/function x", "!<tag:x>", "? ", "- ", "|\n  ", ">-\n  "],
  ...[
    "\n---\n",
    "\n...\n",
    "%YAML 1.1\n",
    "[[[[[[[[",
    "{a: {a: {a: ",
    "\t",
    "# ",
    "'",
    '"',
    "0x10",
    ".inf",
    "~",
    "1_000",
  ],
  ...["a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n", "data: 5\n", "r: {}\n", "seed: [[1]]\n"],
];

export const trainLog = [1, 2, 3].map((step) =>
  JSON.stringify({
    ...{ step, loss: 3 / step, grad_norm: 1, learning_rate: 1e-3, tokens: 100, seconds: 1, memory_bytes: 5e8 },
    eval_loss: 2,
  }) + "\n"
).join("");

const estimate = { value: 0.5, low: 0.4, high: 0.6, rows: 2 };
export const evaluation = JSON.stringify({
  ...{ format: "ftl-eval/1", version: "0.1.0", created: "2026-01-02T03:04:05Z", complete: true, asked: "runs/x" },
  model: { name: "m", parameters: 1e6, adapter: "a", engine: "onnx", prompt_style: "chat" },
  settings: { answer_tokens: 20, limit: 0, seed: 1, resamples: 100, confidence: 0.95 },
  judge: null,
  sets: [{
    ...{ name: "rows", role: "trained", source: "rows.jsonl", scores: { base: { loss: estimate }, tuned: {} } },
    rows: [{
      place: "rows.jsonl:1",
      question: "Q",
      reference: "A",
      base: { text: "B" },
      tuned: { text: "A", loss: 1 },
    }],
  }],
});

export function writeRun(folder: string): void {
  Deno.writeTextFileSync(`${folder}/config.yaml`, "model: smollm2-135m\ndata: [rows.jsonl]\n");
  Deno.writeTextFileSync(`${folder}/log.jsonl`, trainLog);
  Deno.writeTextFileSync(`${folder}/eval.json`, evaluation);
}

export const checkpoints = () => {
  const tensors = [
    ...["a", "b"].map((name) => tensor(`parameter.${name}`, "F32", [3, 2])),
    ...[tensor("optimizer.a.exp_avg", "U8", [6]), tensor("optimizer.b.exp_avg", "F32", [6])],
  ];
  const state = {
    ...{ step: 10, position: 20, rowsPerPass: 2, fingerprint: { model: "m", seed: "1" }, evaluationsSinceBest: 0 },
    optimizerStep: 10,
  };
  const file = concat(writeSafetensors(tensors, { format: "ftl checkpoint 1", state: "", sha256: "" }));
  return [signed(file, JSON.stringify(state))];
};

/** The checkpoint with another state and a checksum that is right, so that the state is read. */
export function signed(bytes: Uint8Array, state: string): Uint8Array {
  const file = openSafetensors(bytesSource(bytes, "c"));
  const hash = createHash("sha256").update(state);
  const tensors = Array.from(file.tensors.values(), ({ name, dtype, shape, byteLength }): LazyTensor => {
    hash.update(name).update(file.bytes(name));
    return { name, dtype, shape, byteLength, data: () => file.bytes(name) };
  });
  return concat(writeSafetensors(tensors, { ...file.metadata, state, sha256: hash.digest("hex") }));
}

export function damagedCheckpoint(bytes: Uint8Array, random: Random): Uint8Array {
  const { metadata } = openSafetensors(bytesSource(bytes, "c"));
  return signed(bytes, random() % 2 ? damagedJson(metadata.state, random) : metadata.state);
}

export const chatBody = {
  model: "m",
  messages: [
    { role: "system", content: "S" },
    { role: "user", content: [{ type: "text", text: "Hi" }] },
    {
      role: "assistant",
      content: null,
      tool_calls: [{ ...toolCall, function: { name: "add", arguments: '{"a":1}' } }],
    },
    { role: "tool", content: "3", tool_call_id: "call00001" },
    { role: "user", content: "Thanks" },
  ],
  ...{ temperature: 0.5, top_p: 0.9, max_tokens: 5, n: 1, stop: ["x"], stream: true, logit_bias: { "5": -100 } },
  ...{ tools: [tool], tool_choice: "auto", response_format: { type: "json_object" }, seed: 1 },
};

// Rows

const alpaca = [["What?", "That."], ["Café?", "日本 🙂"], ['Quote " and\nline', "<b>&amp;</b>"]];
const chatRow = {
  messages: [
    { role: "user", content: "6 x 7?" },
    { role: "assistant", content: "", tool_calls: [toolCall] },
    { role: "tool", content: "42" },
    { role: "assistant", content: "42" },
  ],
  tools: JSON.stringify([tool]),
};
const sharegpt = { conversations: [{ from: "human", value: "Hi" }, { from: "gpt", value: "Hello" }], system: "S" };
const objects = alpaca.map(([instruction, output]) => ({ instruction, input: "", output }));
const lines = (rows: unknown[]) => utf8(rows.map((row) => JSON.stringify(row) + "\n").join(""));
const cells = [["instruction", "output"], ...alpaca];

export const dataWords = [
  ...['"instruction":', '"output":', '"messages":', '"role":"user"', '"content":', '"tool_calls":', '"text":', '"\n"'],
  ...['{"instruction":"a","output":"b"}\n', '{"messages":[]}\n', "[1]\n", "\n\n\n", ",,,,", ';";', '"""', "\r\r\n"],
  ...["\ud83d", "\u0000", "ï»¿", "\ufffd", "null", "[".repeat(3000), '{"a":'.repeat(3000)],
];

/** One line of a file of lines changed as JSON, or the whole as text. */
function damagedLines(bytes: Uint8Array, random: Random): Uint8Array {
  const all = decoder.decode(bytes).split("\n"), at = random() % all.length;
  if (random() % 2) return utf8(damagedText(all.join("\n"), random, dataWords));
  all[at] = damagedJson(all[at], random);
  return utf8(all.join("\n"));
}

export const unzipped = (bytes: Uint8Array) => unzipSync(bytes);

/** One file of a zip archive changed as text, and the archive made anew; sometimes with names that lead out of it. */
function damagedZip(bytes: Uint8Array, random: Random): Uint8Array {
  // Not those that only say they are large; fflate believes it.
  const files = unzipSync(bytes, { filter: ({ originalSize }) => originalSize < 1 << 20 });
  const name = pick(Object.keys(files), random);
  const words = [
    ...["<c>", "</c>", "<v>", "</row>", 'r="A1"', 't="s"', 'r="XFD1048576"', "&#0;", "&x;", "<!ENTITY x 'y'>"],
    ...["<si>", "</t>", "<rPh>", "<![CDATA[", "_x0000_", "&#x10FFFF;", 'Target="/', "numFmt", "<sheet/>", "<xf/>"],
  ];
  const changed = utf8(damagedText(decoder.decode(files[name]), random, words));
  if (random() % 6 === 0) delete files[name];
  else files[random() % 8 ? name : `../${name}`] = changed;
  return zipSync(files);
}

/** Every kind of data file by a name of that kind. */
export const dataFiles: Record<string, {
  files: () => Uint8Array[];
  damage?: (bytes: Uint8Array, random: Random) => Uint8Array;
}> = {
  "rows.jsonl": { files: () => [lines(objects), lines([chatRow]), lines([sharegpt])], damage: damagedLines },
  "rows.json": {
    files: () => [json(objects), json([chatRow, chatRow])],
    damage: (bytes, random) =>
      utf8((random() % 2 ? damagedJson : damagedText)(decoder.decode(bytes), random, dataWords)),
  },
  "rows.csv": { files: () => [csvOf(cells), csvOf(cells, { delimiter: ";", end: "\n" })] },
  "rows.tsv": { files: () => [csvOf(cells, { delimiter: "\t", end: "\n" })] },
  "book.txt": { files: () => [utf8("A book.\n\n".repeat(20)), utf8("é\r\n日本 <|im_end|>")] },
  "rows.jsonl.gz": {
    files: () => [gzipSync(lines(objects))],
    damage: (bytes, random) => gzipSync(damagedBytes(gunzipSync(bytes), random)),
  },
  "rows.xlsx": {
    files: () => [
      xlsxOf({ Rows: cells, Other: [["a"], [1], [true]] }),
      xlsxOf({ Rows: [...cells, [1, new Date("2024-05-06")]] }, { shared: true }),
    ],
    damage: damagedZip,
  },
  "rows.parquet": {
    files: () => (["SNAPPY", "UNCOMPRESSED"] as const).map((codec) => parquetOf(cells, { codec, rowGroupSize: 2 })),
    // Its descriptions stand at the end and before each page.
    damage: damagedBytes,
  },
};
