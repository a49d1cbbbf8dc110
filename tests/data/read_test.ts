/** Forms of data files, and one clear line for each kind of bad one. */
import assert from "node:assert/strict";
import { gzipSync } from "fflate";
import { type ReadOptions, readRows as stream } from "../../lib/data/read.ts";
import { type CleaningNote, formatOf } from "../../lib/data/rows.ts";
import { UserError } from "../../lib/errors.ts";
import { bytesSource } from "../../lib/formats/byte_source.ts";

const source = "data.jsonl";

/** All rows of a file of this content. */
async function readRows(
  content: string | Uint8Array,
  { source, ...options }: Partial<ReadOptions> & { source: string },
) {
  const notes: CleaningNote[] = [], shapes: string[] = [];
  const file = bytesSource(typeof content === "string" ? new TextEncoder().encode(content) : content, source);
  const rows = await Array.fromAsync(stream(file, { notes, onShape: (shape) => shapes.push(shape), ...options }));
  return { rows, format: formatOf(rows[0]), notes, shapes };
}
const alpaca = '{"instruction": "Q", "input": "I", "output": "A"}';
const chat = '{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}';
const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => typeof part === "string" ? [...new TextEncoder().encode(part)] : part));

const turns = [{ role: "user", content: "Q" }, { role: "assistant", content: "A" }];
const forms: [name: string, line: string, row: Record<string, unknown>][] = [
  ["Alpaca", alpaca, { instruction: "Q", input: "I", output: "A" }],
  ["Alpaca without input", '{"instruction": "Q", "output": "A"}', { instruction: "Q", input: "", output: "A" }],
  ["Alpaca with null input", '{"instruction":"Q","input":null,"output":"A"}', {
    instruction: "Q",
    input: "",
    output: "A",
  }],
  ["prompt and completion", '{"prompt": "Q", "completion": "A"}', { instruction: "Q", input: "", output: "A" }],
  ["question and answer", '{"id": 7, "question": "Q", "answer": "A"}', { instruction: "Q", input: "", output: "A" }],
  ["instruction and response", '{"instruction":"Q","context":"I","response":"A"}', {
    instruction: "Q",
    input: "I",
    output: "A",
  }],
  ["no answer", '{"instruction": "Q"}', { instruction: "Q", input: "", output: "" }],
  ["messages", chat, { messages: turns }],
  ["ShareGPT", '{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}', {
    messages: turns,
  }],
  [
    "prompt and completion as messages",
    '{"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]}',
    { messages: turns },
  ],
  [
    "content in parts",
    '{"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, {"role": "model", "content": "A"}]}',
    { messages: turns },
  ],
];
for (const [name, line, row] of forms) {
  Deno.test(`readRows recognises ${name}`, async () => {
    const { rows, format, notes } = await readRows(line + "\n", { source });
    assert.deepEqual(rows, [{ place: "data.jsonl:1", ...row }]);
    assert.equal(format, "messages" in row ? "chat" : "alpaca");
    assert.deepEqual(notes, []);
  });
}

Deno.test("readRows counts lines over empty ones, CRLF and a byte order mark", async () => {
  const { rows } = await readRows(bytes([0xef, 0xbb, 0xbf], `${alpaca}\r\n\r\n  \n${alpaca}`), { source });
  assert.deepEqual(rows.map((row) => row.place), ["data.jsonl:1", "data.jsonl:4"]);
  assert.deepEqual((await readRows("\ufeff" + alpaca, { source })).rows.length, 1);
});

Deno.test("readRows gives elements of a json array the lines they begin on, and a number where that says nothing", async () => {
  const tricky = '{"instruction": "a]},{\\"\\\\", "output": "b",\n  "nested": [[1], {"x": [2]}]}';
  const text = `\n[${alpaca}, ${alpaca},\n\n  ${tricky}\n,${alpaca}\n]\n`;
  const { rows } = await readRows(text, { source: "data.json" });
  assert.deepEqual(rows.map((row) => row.place), ["2", "2, row 2", "4", "6"].map((place) => `data.json:${place}`));
  assert.deepEqual(rows[2], { place: "data.json:4", instruction: 'a]},{"\\', input: "", output: "b" });
});

Deno.test("readRows reads UTF-16 with byte order mark", async () => {
  const text = '{"instruction": "Qué", "output": "A"}';
  const units = Uint16Array.from("\ufeff" + text, (c) => c.charCodeAt(0));
  const [little, big] = [new Uint8Array(units.buffer.slice(0)), new Uint8Array(units.buffer.slice(0))];
  for (let i = 0; i < big.length; i += 2) [big[i], big[i + 1]] = [big[i + 1], big[i]];
  for (const content of [little, big]) {
    assert.deepEqual((await readRows(content, { source })).rows, [{
      place: "data.jsonl:1",
      instruction: "Qué",
      input: "",
      output: "A",
    }]);
  }
});

Deno.test("readRows turns Alpaca rows into conversations when asked", async () => {
  const { rows, format } = await readRows(`${alpaca}\n{"instruction":"Q","output":"A"}`, { source, format: "chat" });
  assert.equal(format, "chat");
  assert.deepEqual(rows, [
    { place: "data.jsonl:1", messages: [{ role: "user", content: "Q\n\nI" }, { role: "assistant", content: "A" }] },
    { place: "data.jsonl:2", messages: turns },
  ]);
});

Deno.test("readRows marks bytes that are not UTF-8, for cleaning to find", async () => {
  const content = bytes(alpaca + "\n", '{"instruction": "Caf', [0xe9], '", "output": "A"}\n', alpaca);
  const { rows } = await readRows(content, { source });
  assert.equal((rows[1] as { instruction: string }).instruction, "Caf\ufffd");
});

Deno.test("readRows reads gzip, UTF-16 without a mark, and lines that cross its pieces", async () => {
  const long = Array.from({ length: 3000 }, (_, i) => `{"instruction": "${i} ${"é".repeat(500)}", "output": "A"}\r\n`);
  const { rows } = await readRows(gzipSync(new TextEncoder().encode(long.join(""))), { source: "rows.jsonl.gz" });
  assert.equal(rows.length, 3000);
  assert.deepEqual(rows[2999], {
    place: "rows.jsonl.gz:3000",
    instruction: `2999 ${"é".repeat(500)}`,
    input: "",
    output: "A",
  });
  const units = new Uint8Array(Uint16Array.from(alpaca, (c) => c.charCodeAt(0)).buffer);
  assert.equal((await readRows(units, { source })).rows.length, 1);
});

const shapes: [keys: string, shape: string][] = [
  ['{"instruction":"Q","input":"","output":"A","id":3}', "Alpaca rows (instruction, input, output); not used: id"],
  ['{"Instruction":"Q","Output":"A"}', "questions with answers (Instruction, Output)"],
  ['{"prompt":"Q","completion":"A"}', "prompts with completions (prompt, completion)"],
  ['{"pregunta":"Q","respuesta":"A"}', "questions with answers (pregunta, respuesta)"],
  ['{"instrução":"Q","resposta":"A"}', "questions with answers (instrução, resposta)"],
  ['{"问题":"Q","答案":"A"}', "questions with answers (问题, 答案)"],
  ['{"Вопрос":"Q","Ответ":"A"}', "questions with answers (Вопрос, Ответ)"],
  ['{"q":"Q","a":"A"}', "questions with answers (q, a)"],
  ['{"input":"Q","output":"A"}', "questions with answers (input, output)"],
  ['{"text":"T","label":1}', "raw text (text); not used: label"],
  [
    '{"conversations":[{"from":"human","value":"Q"},{"from":"gpt","value":"A"}]}',
    "ShareGPT conversations (conversations)",
  ],
  ['{"messages":[{"role":"user","content":"Q"}],"tools":"[]"}', "chat messages (messages, tools)"],
];
for (const [line, shape] of shapes) {
  Deno.test(`readRows says what ${line} was read as`, async () => {
    assert.deepEqual((await readRows(line, { source })).shapes, [shape]);
  });
}

Deno.test("readRows takes columns as it is told", async () => {
  const line = '{"prompt": "P", "question": "Q", "answer": "A"}';
  const { rows } = await readRows(line, { source, columns: { instruction: "question", output: "answer" } });
  assert.deepEqual(rows, [{ place: "data.jsonl:1", instruction: "Q", input: "", output: "A" }]);
});

Deno.test("readRows reads calls of tools and their results, ShareGPT's and OpenAI's, as templates want them", async () => {
  const call = { type: "function", function: { name: "sum", arguments: { a: 1 } } };
  const sharegpt = {
    conversations: [
      { from: "human", value: "Q" },
      { from: "function_call", value: '{"name": "sum", "arguments": {"a": 1}}' },
      { from: "observation", value: "1" },
      { from: "gpt", value: "A" },
    ],
    system: "S",
    tools: '[{"name": "sum"}]',
  };
  const openai = {
    messages: [
      { role: "system", content: "S" },
      { role: "user", content: "Q" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "7", type: "function", function: { name: "sum", arguments: '{"a": 1}' } }],
      },
      { role: "tool", content: "1", tool_call_id: "7", name: null },
      { role: "assistant", content: "A" },
    ],
    tools: [{ type: "function", function: { name: "sum" } }],
  };
  const { rows } = await readRows([sharegpt, openai].map((row) => JSON.stringify(row)).join("\n"), { source });
  const tools = [{ type: "function", function: { name: "sum" } }];
  const turns = (id: object, toolId: object) => [
    { role: "system", content: "S" },
    { role: "user", content: "Q" },
    { role: "assistant", content: "", tool_calls: [{ ...id, ...call }] },
    { role: "tool", content: "1", ...toolId },
    { role: "assistant", content: "A" },
  ];
  assert.deepEqual(rows, [
    { place: "data.jsonl:1", messages: turns({}, {}), tools },
    { place: "data.jsonl:2", messages: turns({ id: "7" }, { tool_call_id: "7" }), tools },
  ]);
});

const refused: [name: string, content: string | Uint8Array, message: RegExp, hint: RegExp, as?: "alpaca" | "chat"][] = [
  ["an empty file", "", /^data\.jsonl: no rows$/, /instruction/],
  ["an empty file of bytes", new Uint8Array(0), /no rows/, /instruction/],
  ["nothing but white space", " \n\n\t\n", /no rows/, /instruction/],
  ["an empty array", "[]", /no rows/, /instruction/],
  [
    "a CSV file",
    "instruction,input,output\nQ,,A\n",
    /neither jsonl nor json: it begins with "instruction,input/,
    /name it \.csv/,
  ],
  ["a CSV file with semicolons", "instruction;output\nQ;A\n", /neither jsonl nor json/, /CSV/],
  ["plain text", "Batik is a way of decorating cloth.", /neither jsonl nor json/, /\.jsonl/],
  ["binary data", bytes("ABCD", [3, 0, 0, 0, 0, 0]), /^data\.jsonl: binary data, not text: byte 5 is 0/, /\.jsonl/],
  ["a GGUF file", bytes("GGUF", [3, 0, 0, 0, 0, 0]), /^data\.jsonl: this is a GGUF model/, /--model/],
  ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\n", /this is a Git LFS pointer/, /git lfs pull/],
  ["a comment", `// mine\n${alpaca}`, /neither jsonl nor json/, /JSON has no comments/],
  ["what Python prints", "{'instruction': 'Q', 'output': 'A'}", /^data\.jsonl:1: not valid JSON/, /json\.dumps/],
  ["rows inside an object", `{"version": 1, "data": [${alpaca}]}`, /:1: the rows are a list inside "data"/, /Save/],
  [
    "preferences",
    '{"prompt": "Q", "chosen": "A", "rejected": "B"}',
    /:1: rows of preferences .* are not learnt/,
    /--columns instruction=prompt,output=chosen/,
  ],
  ["damaged gzip data", bytes([0x1f, 0x8b, 8, 0, 1, 2, 3]), /^data\.jsonl: damaged gzip data/, /again/],
  [
    "a broken line",
    `${alpaca}\n{"instruction": "Q", "outp\n${alpaca}`,
    /^data\.jsonl:2: not valid JSON/,
    /Correct the line/,
  ],
  ["two objects on a line", `${alpaca}${alpaca}`, /^data\.jsonl:1: not valid JSON/, /one whole JSON object/],
  ["an array cut off", `[${alpaca},\n{"instr`, /^data\.jsonl:2: a string is not closed/, /Correct/],
  ["an array without its end", `[${alpaca},\n${alpaca}`, /^data\.jsonl:2: the JSON array is not closed/, /Correct/],
  ["text after an array", `[${alpaca}]\n{}`, /^data\.jsonl:2: "\{\}" after the end/, /Correct/],
  ["a broken element", `[\n${alpaca},\n{"instruction": }\n]`, /^data\.jsonl:3: not valid JSON/, /./],
  ["no keys", "{}\n", /^data\.jsonl:1: no column is known .*; the columns are none/, /--columns/],
  ["unknown keys", '{"foo": 1, "bar": 2}', /the columns are foo, bar/, /--columns instruction=COLUMN,output=COLUMN/],
  [
    "two questions",
    '{"query": "a", "question": "b", "answer": "c"}',
    /query and question could both be the instruction/,
    /--columns/,
  ],
  [
    "a call without a name",
    '{"messages": [{"role": "assistant", "tool_calls": [{"x": 1}]}]}',
    /message 1 calls a tool without naming it/,
    /./,
  ],
  ["a list as row", `${alpaca}\n[1, 2]`, /^data\.jsonl:2: expected a JSON object, found a list/, /./],
  ["null as row", `${alpaca}\nnull`, /^data\.jsonl:2: expected a JSON object, found null/, /./],
  [
    "a number as instruction",
    '{"instruction": 5, "output": "A"}',
    /:1: "instruction" must be text, found number 5/,
    /./,
  ],
  ["a list as answer", '{"instruction": "Q", "output": ["A"]}', /:1: "output" must be text, found a list/, /./],
  ["messages that are text", '{"messages": "hi"}', /"messages" must be a list of messages, found string "hi"/, /./],
  ["a message that is text", '{"messages": ["hi"]}', /"messages" message 1 must be an object/, /./],
  ["a message without role", '{"messages": [{"content": "hi"}]}', /"messages" message 1 has no role/, /./],
  ["content of wrong type", '{"messages": [{"role": "user", "content": 1}]}', /message 1 content must be text/, /./],
  ["a picture", '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', /other than text/, /./],
  ["a chat row among Alpaca rows", `${alpaca}\n${chat}`, /^data\.jsonl:2: a chat row, expected alpaca rows/, /Split/],
  ["chat rows where Alpaca was asked for", chat, /^data\.jsonl:1: a chat row, expected alpaca/, /./, "alpaca"],
];
for (const [name, content, message, hint, format] of refused) {
  Deno.test(`readRows refuses ${name} with one clear line`, async () => {
    await assert.rejects(() => readRows(content, { source, format }), (error: unknown) => {
      assert(error instanceof UserError, String(error));
      assert.match(error.message, message);
      assert(!error.message.includes("\n"));
      assert.match(error.hint ?? "", hint);
      return true;
    });
  });
}
