/** Forms of data files, and one clear line for each kind of bad one. */
import assert from "node:assert/strict";
import { readRows } from "../../lib/data/read.ts";
import { UserError } from "../../lib/errors.ts";

const source = "data.jsonl";
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
  Deno.test(`readRows recognises ${name}`, () => {
    const { rows, format, notes } = readRows(line + "\n", { source });
    assert.deepEqual(rows, [{ line: 1, ...row }]);
    assert.equal(format, "messages" in row ? "chat" : "alpaca");
    assert.deepEqual(notes, []);
  });
}

Deno.test("readRows counts lines over empty ones, CRLF and a byte order mark", () => {
  const { rows } = readRows(bytes([0xef, 0xbb, 0xbf], `${alpaca}\r\n\r\n  \n${alpaca}`), { source });
  assert.deepEqual(rows.map((row) => row.line), [1, 4]);
  assert.deepEqual(readRows("\ufeff" + alpaca, { source }).rows.length, 1);
});

Deno.test("readRows gives elements of a json array the lines they begin on", () => {
  const tricky = '{"instruction": "a]},{\\"\\\\", "output": "b",\n  "nested": [[1], {"x": [2]}]}';
  const text = `\n[${alpaca}, ${alpaca},\n\n  ${tricky}\n,${alpaca}\n]\n`;
  const { rows } = readRows(text, { source: "data.json" });
  assert.deepEqual(rows.map((row) => row.line), [2, 2, 4, 6]);
  assert.deepEqual(rows[2], { line: 4, instruction: 'a]},{"\\', input: "", output: "b" });
});

Deno.test("readRows reads UTF-16 with byte order mark", () => {
  const text = '{"instruction": "Qué", "output": "A"}';
  const units = Uint16Array.from("\ufeff" + text, (c) => c.charCodeAt(0));
  const [little, big] = [new Uint8Array(units.buffer.slice(0)), new Uint8Array(units.buffer.slice(0))];
  for (let i = 0; i < big.length; i += 2) [big[i], big[i + 1]] = [big[i + 1], big[i]];
  for (const content of [little, big]) {
    assert.deepEqual(readRows(content, { source }).rows, [{ line: 1, instruction: "Qué", input: "", output: "A" }]);
  }
});

Deno.test("readRows turns Alpaca rows into conversations when asked", () => {
  const { rows, format } = readRows(`${alpaca}\n{"instruction":"Q","output":"A"}`, { source, format: "chat" });
  assert.equal(format, "chat");
  assert.deepEqual(rows, [
    { line: 1, messages: [{ role: "user", content: "Q\n\nI" }, { role: "assistant", content: "A" }] },
    { line: 2, messages: turns },
  ]);
});

Deno.test("readRows leaves out a line that is not UTF-8 and names it", () => {
  const content = bytes(alpaca + "\n", '{"instruction": "Caf', [0xe9], '", "output": "A"}\n', alpaca);
  const { rows, notes } = readRows(content, { source });
  assert.deepEqual(rows.map((row) => row.line), [1, 3]);
  assert.deepEqual(notes, [{ source, line: 2, what: "bytes that are not UTF-8", action: "dropped" }]);
});

Deno.test("readRows with skipBroken leaves broken lines out, each with a note", () => {
  const { rows, notes } = readRows([alpaca, "{broken", "[1]", alpaca, '{"instruction": 5}'].join("\n"), {
    source,
    skipBroken: true,
  });
  assert.deepEqual(rows.map((row) => row.line), [1, 4]);
  assert.deepEqual(notes.map(({ line, action }) => [line, action]), [[2, "dropped"], [3, "dropped"], [5, "dropped"]]);
  assert.match(notes[0].what, /not valid JSON/);
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
    /CSV/,
  ],
  ["a CSV file with semicolons", "instruction;output\nQ;A\n", /neither jsonl nor json/, /CSV/],
  ["plain text", "Batik is a way of decorating cloth.", /neither jsonl nor json/, /one JSON object per line/i],
  ["a GGUF file", bytes("GGUF", [3, 0, 0, 0, 0, 0]), /neither jsonl nor json/, /./],
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
  ["a number as row", "{}\n", /no key of a known form; the row has no keys/, /./],
  ["unknown keys", '{"foo": 1, "bar": 2}', /the row has foo, bar/, /./],
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
  [
    "a file all in Latin-1",
    bytes('{"instruction": "', [0xe9], '"}\n'),
    /no usable rows; .* 1: bytes that are not UTF-8/,
    /UTF-8/,
  ],
];
for (const [name, content, message, hint, format] of refused) {
  Deno.test(`readRows refuses ${name} with one clear line`, () => {
    assert.throws(() => readRows(content, { source, format }), (error: unknown) => {
      assert(error instanceof UserError, String(error));
      assert.match(error.message, message);
      assert(!error.message.includes("\n"));
      assert.match(error.hint ?? "", hint);
      return true;
    });
  });
}
