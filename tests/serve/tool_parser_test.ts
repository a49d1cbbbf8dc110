/** Calls of functions in each family's form, cut at every place; what is no call stays text. */
import assert from "node:assert/strict";
import { toolFormatOf } from "../../lib/serve/tool_formats.ts";
import { parseToolCalls } from "../../lib/serve/tool_parser.ts";

const formats = {
  hermes: toolFormatOf("{{ tools }} <tool_call>").format,
  mistral: toolFormatOf("{{ tools }} [TOOL_CALLS]").format,
  llama3: toolFormatOf("{{ tools }} <|python_tag|>").format,
};

/** Text, then calls as [name, arguments], as pieces of `size` characters give them. */
function parsed(format: keyof typeof formats, answer: string, size: number) {
  const parser = parseToolCalls(formats[format], new Set(["weather", "time"]));
  const result = { text: "", calls: [] as [string, string][], ended: 0 };
  const events = [];
  for (let at = 0; at < answer.length; at += size) events.push(...parser.push(answer.slice(at, at + size)));
  events.push(...parser.end());
  for (const event of events) {
    if (event.kind === "text") result.text += event.text;
    else if (event.kind === "call") result.calls[event.index] = [event.name, ""];
    else if (event.kind === "arguments") result.calls[event.index][1] += event.text;
    else result.ended++;
  }
  assert.ok(events.every((event) => !("text" in event) || event.text !== ""));
  return result;
}

const paris = '{"city": "Par\\"is }", "days": [1, {"a": "]"}]}';
const timeCall = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>';
const cases: [keyof typeof formats, string, string, [string, string][]][] = [
  ["hermes", `<tool_call>\n{"name": "weather", "arguments": ${paris}}\n</tool_call>`, "", [["weather", paris]]],
  [
    "hermes",
    `Let me see.\n<tool_call>\n{"name": "weather", "arguments": ${paris}}\n</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>`,
    "Let me see.",
    [["weather", paris], ["time", "{}"]],
  ],
  ["hermes", `<tool_call>{"arguments": {"a": 1}, "name": "time"}</tool_call>`, "", [["time", '{"a":1}']]],
  ["hermes", `<tool_call>{"name": "time", "arguments": "{\\"a\\": 1}"}</tool_call>`, "", [["time", '{"a": 1}']]],
  ["hermes", `<tool_call>{"name": "other", "arguments": {}}</tool_call> and on`, " and on", [["other", "{}"]]],
  ["hermes", "a < b and <tool_cal is text <", "a < b and <tool_cal is text <", []],
  ["hermes", "<tool_call>not JSON</tool_call> after", "<tool_call>not JSON</tool_call> after", []],
  ["hermes", '<tool_call>{"name": "time", "argu', '<tool_call>{"name": "time", "argu', []],
  ["hermes", `${timeCall}\n<tool_ca`, "", [["time", "{}"]]],
  ["hermes", `${timeCall}\n<tool_call>\n{"name": "ti`, "", [["time", "{}"]]],
  ["hermes", '{"name": "weather", "arguments": {}}', '{"name": "weather", "arguments": {}}', []],
  ["mistral", `[TOOL_CALLS] [{"name": "weather", "arguments": ${paris}}]`, "", [["weather", paris]]],
  [
    "mistral",
    `[TOOL_CALLS][{"name": "weather", "arguments": {"a": 1}}, {"name": "time", "arguments": {}}]`,
    "",
    [["weather", '{"a": 1}'], ["time", "{}"]],
  ],
  [
    "mistral",
    `[TOOL_CALLS]weather[ARGS]${paris}[TOOL_CALLS]time[ARGS]{}`,
    "",
    [["weather", paris], ["time", "{}"]],
  ],
  ["mistral", "See [TOOL_ and [1]", "See [TOOL_ and [1]", []],
  ["llama3", `{"name": "weather", "parameters": ${paris}}`, "", [["weather", paris]]],
  ["llama3", `\n<|python_tag|>{"name": "time", "parameters": {}}`, "", [["time", "{}"]]],
  ["llama3", `{"type": "function", "name": "time", "parameters": {}}`, "", [["time", "{}"]]],
  [
    "llama3",
    `{"name": "weather", "parameters": {"a": 1}}; {"name": "time", "parameters": {}}`,
    "",
    [["weather", '{"a": 1}'], ["time", "{}"]],
  ],
  ["llama3", `{"name": "time", "arguments": {}}`, "", [["time", "{}"]]],
  ["llama3", `{"a": 1} is JSON`, `{"a": 1} is JSON`, []],
  ["llama3", `{"name": "unknown", "parameters": {}}`, `{"name": "unknown", "parameters": {}}`, []],
  ["llama3", `The call {"name": "time"} is text`, `The call {"name": "time"} is text`, []],
  ["llama3", `{"a`, `{"a`, []],
];

for (const [format, answer, text, calls] of cases) {
  Deno.test(`${format}: ${answer.slice(0, 80)}`, () => {
    for (let size = 1; size <= answer.length; size++) {
      const result = parsed(format, answer, size);
      assert.deepEqual([result.text, result.calls, result.ended], [text, calls, calls.length], `pieces of ${size}`);
    }
  });
}

Deno.test("arguments are handed on while they come", () => {
  const parser = parseToolCalls(formats.hermes, new Set());
  const kinds = (text: string) => parser.push(text).map((event) => event.kind).join();
  assert.equal(kinds('<tool_call>\n{"name": "weather", "argu'), "");
  assert.equal(kinds('ments": {"ci'), "call,arguments");
  assert.equal(kinds('ty": '), "arguments");
  assert.equal(kinds('"x"}'), "arguments,called");
  assert.equal(kinds("}\n</tool_call>"), "");
});
